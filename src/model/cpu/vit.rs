//! The whole vision transformer: tokens, blocks, final norm. The representation is the class token.

use std::sync::Arc;

use super::block::Scratch;
use super::linear::Norm;
use super::network::Batch;
use super::vit_block::{Kept, VitBlock, VitBlockTape};
use super::vit_embed::Embed;
use crate::diagnostic::Failure;
use crate::kernel::{LayerNorm, QkvShape, layer_norm, layer_norm_backward};
use crate::model::{DropPath, Layout, VitSizes};

/// A vision transformer on the CPU kernels.
pub struct VitNetwork {
    sizes: VitSizes,
    embed: Embed,
    blocks: Vec<VitBlock>,
    norm: Norm,
    /// Whether backward passes compute the blocks' activations again instead of keeping them.
    again: bool,
}

/// The buffers of one pass.
#[derive(Default)]
pub struct VitTape {
    /// What passes in training mode leave out.
    pub drop: Option<DropPath>,
    patches: Vec<f32>,
    blocks: Vec<VitBlockTape>,
    /// What entered each block, where activations are computed again.
    inputs: Vec<Vec<f32>>,
    norm: LayerNorm,
    scratch: Scratch,
    x: Vec<f32>,
    shape: Option<(usize, usize, usize)>,
}

/// What drop path leaves out of a block in training.
fn kept(drop: &Option<DropPath>, train: bool, block: usize) -> Kept<'_> {
    drop.as_ref().filter(|_| train).map(|drop| [drop.branch(block, 0), drop.branch(block, 1)])
}

impl VitNetwork {
    /// Lays out a network of these sizes.
    pub fn new(sizes: &VitSizes, layout: &Arc<Layout>) -> Self {
        Self {
            embed: Embed::find(layout, sizes),
            blocks: (0..sizes.depth).map(|i| VitBlock::find(layout, sizes, i)).collect(),
            norm: Norm::find(layout, "norm"),
            sizes: sizes.clone(),
            again: false,
        }
    }

    /// See [`super::Network::checkpoint_blocks`].
    pub fn checkpoint_blocks(&mut self, yes: bool) {
        self.again = yes;
    }

    /// Returns the class tokens (n × D) in training mode.
    pub fn forward(&self, params: &[f32], batch: &Batch<'_>, tape: &mut VitTape) -> Result<Vec<f32>, Failure> {
        if let Some(drop) = tape.drop.as_ref().filter(|drop| drop.images() != batch.n) {
            return Err(Failure::new(format!("drop path was drawn for {} images, but there are {}", drop.images(), batch.n)));
        }
        self.body(params, batch, true, self.blocks.len(), tape)?;
        let image = tape.x.len() / batch.n;
        let class: Vec<f32> = tape.x.chunks_exact(image).flat_map(|x| x[..self.sizes.dim].iter().copied()).collect();
        Ok(self.final_norm(params, &class, tape))
    }

    /// Returns the class tokens (n × D) in evaluation mode, and keeps nothing for a backward pass.
    pub fn features(&self, params: &[f32], batch: &Batch<'_>, tape: &mut VitTape) -> Result<Vec<f32>, Failure> {
        let last = self.blocks.len() - 1;
        let shape = self.body(params, batch, false, last, tape)?;
        let class = self.blocks[last].forward_class(params, shape, &tape.x, &mut tape.blocks[0], &mut tape.scratch);
        Ok(self.final_norm(params, &class, tape))
    }

    /// Returns all tokens after the final norm (n × T × D) in evaluation mode, and the class token's attention in the last block (n × heads × T).
    pub fn tokens(&self, params: &[f32], batch: &Batch<'_>, tape: &mut VitTape) -> Result<(Vec<f32>, Vec<f32>), Failure> {
        let shape = self.body(params, batch, false, self.blocks.len(), tape)?;
        let all = std::mem::take(&mut tape.x);
        let tokens = self.final_norm(params, &all, tape);
        tape.x = all;
        Ok((tokens, self.blocks[self.blocks.len() - 1].class_attention(shape, &tape.blocks[0])))
    }

    fn shape(&self, batch: &Batch<'_>, grid: (usize, usize)) -> QkvShape {
        let VitSizes { dim, heads, .. } = self.sizes;
        QkvShape { batch: batch.n, tokens: self.sizes.prefix() + grid.0 * grid.1, dim, heads }
    }

    /// The stream behind the first `depth` blocks. Where no backward pass follows, all blocks share one set of buffers.
    fn body(&self, params: &[f32], batch: &Batch<'_>, train: bool, depth: usize, tape: &mut VitTape) -> Result<QkvShape, Failure> {
        let grid = batch.grid(self.sizes.patch)?;
        let shape = self.shape(batch, grid);
        let (keep_blocks, keep_inputs) = (train && !self.again, train && self.again);
        let VitTape { drop, patches, blocks, inputs, scratch, x, .. } = tape;
        blocks.resize_with(if keep_blocks { self.blocks.len() } else { 1 }, VitBlockTape::default);
        inputs.resize_with(if keep_inputs { self.blocks.len() } else { 0 }, Vec::new);
        self.embed.forward(params, batch, grid, patches, x);
        for (i, block) in self.blocks[..depth].iter().enumerate() {
            if let Some(input) = inputs.get_mut(i).filter(|_| i + 1 < self.blocks.len()) {
                input.clear();
                input.extend_from_slice(x);
            }
            block.forward(params, shape, train, kept(drop, train, i), x, &mut blocks[if keep_blocks { i } else { 0 }], scratch);
        }
        tape.shape = train.then_some((batch.n, batch.height, batch.width));
        Ok(shape)
    }

    fn final_norm(&self, params: &[f32], rows: &[f32], tape: &mut VitTape) -> Vec<f32> {
        let mut out = Vec::new();
        layer_norm(rows, self.norm.values(params), Some(&mut tape.norm), &mut out);
        out
    }

    /// Adds the gradients of all parameters to `grads`, from that of the class tokens of the last [`forward`](Self::forward).
    pub fn backward(
        &self,
        params: &[f32],
        batch: &Batch<'_>,
        tape: &mut VitTape,
        d_class: &[f32],
        grads: &mut [f32],
        d_pixels: Option<&mut Vec<f32>>,
    ) -> Result<(), Failure> {
        let grid = batch.grid(self.sizes.patch)?;
        if tape.shape != Some((batch.n, batch.height, batch.width)) {
            return Err(Failure::new("a backward pass needs the forward pass of the same images before it"));
        }
        let shape = self.shape(batch, grid);
        let (dim, image) = (shape.dim, shape.tokens * shape.dim);
        let mut d_rows = vec![0.0; d_class.len()];
        self.norm.add(layer_norm_backward(d_class, &tape.norm, self.norm.values(params).0, &mut d_rows), grads);
        let VitTape { drop, patches, blocks, inputs, scratch, x, .. } = tape;
        let mut d = vec![0.0; batch.n * image];
        d.chunks_exact_mut(image).zip(d_rows.chunks_exact(dim)).for_each(|(image, row)| image[..dim].copy_from_slice(row));
        for (i, block) in self.blocks.iter().enumerate().rev() {
            let tape = &mut blocks[if self.again { 0 } else { i }];
            // The activations of the last block are still there.
            if self.again && i + 1 < self.blocks.len() {
                x.clear();
                x.extend_from_slice(&inputs[i]);
                block.forward(params, shape, true, kept(drop, true, i), x, tape, scratch);
            }
            block.backward(params, shape, kept(drop, true, i), tape, &mut d, grads, scratch);
        }
        self.embed.backward(params, batch, grid, patches, &d, grads, d_pixels);
        Ok(())
    }
}

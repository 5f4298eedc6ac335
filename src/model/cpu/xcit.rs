//! The whole XCiT: tokens, blocks, class attention, final norm. The representation is the class token.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::block::{Block, BlockTape, Scratch};
use super::class_attention::{ClassBlock, ClassTape};
use super::linear::Norm;
use super::network::Batch;
use super::stem::{Stem, StemTape};
use crate::diagnostic::Failure;
use crate::kernel::{LayerNorm, Maps, layer_norm, layer_norm_backward};
use crate::model::{Layout, Weights, XcitSizes};

/// An XCiT on the CPU kernels.
pub struct XcitNetwork {
    sizes: XcitSizes,
    layout: Arc<Layout>,
    cls_token: Range<usize>,
    stem: Stem,
    blocks: Vec<Block>,
    class_blocks: Vec<ClassBlock>,
    norm: Norm,
    /// Whether backward passes compute the blocks' activations again instead of keeping them.
    again: bool,
}

/// The buffers of one pass.
#[derive(Default)]
pub struct XcitTape {
    stem: StemTape,
    blocks: Vec<BlockTape>,
    /// What entered each block, where activations are computed again.
    inputs: Vec<Vec<f32>>,
    class_blocks: Vec<ClassTape>,
    norm: LayerNorm,
    scratch: Scratch,
    tokens: Vec<f32>,
    with_class: Vec<f32>,
    d: Vec<f32>,
    shape: Option<(usize, usize, usize)>,
}

/// Whose statistics batch norms use, and whether a backward pass will follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Train,
    TrainOnly,
    Eval,
}

impl XcitNetwork {
    /// Lays out a network of these sizes; `layout` may hold more (a head), its parameters after the network's own.
    pub fn new(sizes: &XcitSizes, layout: Arc<Layout>) -> Self {
        Self {
            cls_token: layout.at("cls_token"),
            stem: Stem::find(&layout, sizes),
            blocks: (0..sizes.depth).map(|i| Block::find(&layout, sizes, i)).collect(),
            class_blocks: (0..sizes.cls_depth).map(|i| ClassBlock::find(&layout, sizes, i)).collect(),
            norm: Norm::find(&layout, "norm"),
            sizes: sizes.clone(),
            layout,
            again: false,
        }
    }

    /// See [`super::Network::checkpoint_blocks`].
    pub fn checkpoint_blocks(&mut self, yes: bool) {
        self.again = yes;
    }

    /// Returns the class tokens (n × D) in training mode; batch statistics are used and the running ones in `buffers` moved.
    pub fn forward(&self, params: &[f32], buffers: &mut [f32], batch: &Batch<'_>, tape: &mut XcitTape) -> Result<Vec<f32>, Failure> {
        self.body(params, buffers, Mode::Train, batch, tape)?;
        Ok(self.class_tokens(params, batch, tape))
    }

    /// As [`forward`](Self::forward), but keeps nothing for a backward pass: for a teacher.
    pub fn forward_only(&self, params: &[f32], buffers: &mut [f32], batch: &Batch<'_>, tape: &mut XcitTape) -> Result<Vec<f32>, Failure> {
        self.body(params, buffers, Mode::TrainOnly, batch, tape)?;
        Ok(self.class_tokens(params, batch, tape))
    }

    fn class_tokens(&self, params: &[f32], batch: &Batch<'_>, tape: &mut XcitTape) -> Vec<f32> {
        let image = tape.with_class.len() / batch.n;
        let class: Vec<f32> = tape.with_class.chunks_exact(image).flat_map(|x| x[..self.sizes.dim].iter().copied()).collect();
        self.final_norm(params, &class, tape)
    }

    /// Adds the gradients of all parameters to `grads`, from that of the class tokens of the last [`forward`](Self::forward).
    pub fn backward(
        &self,
        params: &[f32],
        batch: &Batch<'_>,
        tape: &mut XcitTape,
        d_class: &[f32],
        grads: &mut [f32],
        d_pixels: Option<&mut Vec<f32>>,
    ) -> Result<(), Failure> {
        let maps = self.maps(batch)?;
        if tape.shape != Some((batch.n, batch.height, batch.width)) {
            return Err(Failure::new("a backward pass needs the forward pass of the same images before it"));
        }
        let (dim, tokens) = (self.sizes.dim, maps.height * maps.width + 1);
        let mut d_rows = vec![0.0; d_class.len()];
        self.norm.add(layer_norm_backward(d_class, &tape.norm, self.norm.values(params).0, &mut d_rows), grads);
        let mut d = std::mem::take(&mut tape.d);
        d.clear();
        d.resize(batch.n * tokens * dim, 0.0);
        d.chunks_exact_mut(tokens * dim).zip(d_rows.chunks_exact(dim)).for_each(|(image, row)| image[..dim].copy_from_slice(row));
        for (block, kept) in self.class_blocks.iter().zip(&tape.class_blocks).rev() {
            block.backward(params, tokens, kept, &mut d, grads, &mut tape.scratch);
        }
        // The patches' gradients go on without those of the class tokens.
        let (image, patches) = (tokens * dim, (tokens - 1) * dim);
        d.chunks_exact(image).for_each(|d| grads[self.cls_token.clone()].iter_mut().zip(d).for_each(|(g, d)| *g += d));
        let room = &mut tape.scratch.b;
        room.resize(batch.n * patches, 0.0);
        room.par_chunks_exact_mut(patches).zip(d.par_chunks_exact(image)).for_each(|(to, d)| to.copy_from_slice(&d[dim..]));
        std::mem::swap(&mut d, room);
        // Running statistics have moved already: those of the second pass go nowhere.
        let mut unused = if self.again { vec![0.0; self.layout.n_buffers()] } else { Vec::new() };
        for (i, block) in self.blocks.iter().enumerate().rev() {
            let kept = &mut tape.blocks[if self.again { 0 } else { i }];
            // The activations of the last block are still there.
            if self.again && i + 1 < self.blocks.len() {
                tape.tokens.clear();
                tape.tokens.extend_from_slice(&tape.inputs[i]);
                block.forward(params, &mut unused, (true, true), maps, &mut tape.tokens, kept, &mut tape.scratch);
            }
            block.backward(params, maps, kept, &mut d, grads, &mut tape.scratch);
        }
        self.stem.backward(params, batch, &mut tape.stem, &mut d, grads, d_pixels);
        tape.d = d;
        Ok(())
    }

    /// Returns the class tokens (n × D) in evaluation mode: the representation.
    pub fn features(&self, weights: &Weights, batch: &Batch<'_>, tape: &mut XcitTape) -> Result<Vec<f32>, Failure> {
        let mut buffers = weights.buffers.clone();
        self.body(&weights.params, &mut buffers, Mode::Eval, batch, tape)?;
        Ok(self.class_tokens(&weights.params, batch, tape))
    }

    /// Returns all tokens after the final norm (n × (1 + N) × D) in evaluation mode, and the last class-attention rows (n × heads × (1 + N)).
    pub fn tokens(&self, weights: &Weights, batch: &Batch<'_>, tape: &mut XcitTape) -> Result<(Vec<f32>, Vec<f32>), Failure> {
        let mut buffers = weights.buffers.clone();
        self.body(&weights.params, &mut buffers, Mode::Eval, batch, tape)?;
        let all = tape.with_class.clone();
        let tokens = self.final_norm(&weights.params, &all, tape);
        Ok((tokens, tape.class_blocks[self.class_blocks.len() - 1].attention.clone()))
    }

    fn maps(&self, batch: &Batch<'_>) -> Result<Maps, Failure> {
        let (height, width) = batch.grid(self.sizes.patch)?;
        Ok(Maps { batch: batch.n, height, width, channels: self.sizes.dim })
    }

    /// Everything up to the final norm. Where no backward pass follows, all blocks share one set of buffers.
    fn body(&self, params: &[f32], buffers: &mut [f32], mode: Mode, batch: &Batch<'_>, tape: &mut XcitTape) -> Result<(), Failure> {
        let maps = self.maps(batch)?;
        let (train, keep) = (mode != Mode::Eval, mode == Mode::Train);
        tape.shape = keep.then_some((batch.n, batch.height, batch.width));
        let keep_blocks = keep && !self.again;
        tape.blocks.resize_with(if keep_blocks { self.blocks.len() } else { 1 }, BlockTape::default);
        tape.inputs.resize_with(if keep && self.again { self.blocks.len() } else { 0 }, Vec::new);
        tape.class_blocks.resize_with(self.class_blocks.len(), ClassTape::default);
        self.stem.forward(params, buffers, (train, keep), batch, &mut tape.stem, &mut tape.tokens);
        for (i, block) in self.blocks.iter().enumerate() {
            if let Some(input) = tape.inputs.get_mut(i).filter(|_| i + 1 < self.blocks.len()) {
                input.clear();
                input.extend_from_slice(&tape.tokens);
            }
            let kept = &mut tape.blocks[if keep_blocks { i } else { 0 }];
            block.forward(params, buffers, (train, keep), maps, &mut tape.tokens, kept, &mut tape.scratch);
        }
        let (dim, n) = (self.sizes.dim, maps.height * maps.width);
        tape.with_class.resize(batch.n * (n + 1) * dim, 0.0);
        let class = &params[self.cls_token.clone()];
        tape.with_class.par_chunks_exact_mut((n + 1) * dim).zip(tape.tokens.par_chunks_exact(n * dim)).for_each(|(all, patches)| {
            all[..dim].copy_from_slice(class);
            all[dim..].copy_from_slice(patches);
        });
        for (block, kept) in self.class_blocks.iter().zip(&mut tape.class_blocks) {
            block.forward(params, n + 1, &mut tape.with_class, kept, &mut tape.scratch.a);
        }
        Ok(())
    }

    fn final_norm(&self, params: &[f32], rows: &[f32], tape: &mut XcitTape) -> Vec<f32> {
        let mut out = Vec::new();
        layer_norm(rows, self.norm.values(params), Some(&mut tape.norm), &mut out);
        out
    }
}

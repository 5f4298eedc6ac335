//! A network of either family on the CPU kernels, as training and feature extraction meet it.

use std::sync::Arc;

use super::vit::{VitNetwork, VitTape};
use super::xcit::{XcitNetwork, XcitTape};
use crate::diagnostic::Failure;
use crate::model::{DropPath, Layout, Sizes, Weights};

/// Images of one size, pixel-major: B × height × width × 3.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    pub pixels: &'a [f32],
    pub n: usize,
    pub height: usize,
    pub width: usize,
}

impl Batch<'_> {
    /// Returns the number of patches in each direction.
    ///
    /// # Errors
    /// When the sides do not divide into patches, or the pixels are not those of so many images.
    pub fn grid(&self, patch: usize) -> Result<(usize, usize), Failure> {
        let grid = crate::model::grid(patch, self.height, self.width)?;
        if self.n == 0 || self.pixels.len() != self.n * self.height * self.width * 3 {
            let Self { pixels, n, height, width } = self;
            return Err(Failure::new(format!("{} values given for {n} images of {width}x{height}x3", pixels.len())));
        }
        Ok(grid)
    }
}

/// A network that runs on the CPU kernels. Holds no weights: they are given to each pass.
pub struct Network {
    sizes: Sizes,
    layout: Arc<Layout>,
    family: Family,
}

enum Family {
    Xcit(XcitNetwork),
    Vit(VitNetwork),
}

/// The buffers of one pass, kept from one call to the next. One for each crop size, so that nothing is allocated in a step.
#[derive(Default)]
pub struct Tape {
    xcit: XcitTape,
    vit: VitTape,
}

impl Tape {
    /// Says which branches the passes in training mode leave out, from now on. Vision transformers alone look at it.
    pub fn set_drop_path(&mut self, drop: Option<DropPath>) {
        self.vit.drop = drop;
    }
}

impl Network {
    /// Lays out a network of these sizes; `layout` may hold more (a head), its parameters after the network's own.
    pub fn new(sizes: &Sizes, layout: Arc<Layout>) -> Self {
        let family = match sizes {
            Sizes::Xcit(own) => Family::Xcit(XcitNetwork::new(own, layout.clone())),
            Sizes::Vit(own) => Family::Vit(VitNetwork::new(own, &layout)),
        };
        Self { sizes: sizes.clone(), layout, family }
    }

    /// Makes backward passes compute the activations inside the blocks again from what entered each (Chen et al. 2016,
    /// arXiv:1604.06174): instead of up to 17 numbers (ViT: 14) per token, channel and block one is kept, for one more forward pass. No bit changes.
    pub fn checkpoint_blocks(mut self, yes: bool) -> Self {
        match &mut self.family {
            Family::Xcit(own) => own.checkpoint_blocks(yes),
            Family::Vit(own) => own.checkpoint_blocks(yes),
        }
        self
    }

    /// Returns the sizes.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Returns the layout of its weights.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Returns the class tokens (n × D) in training mode; batch statistics are used and the running ones in `buffers` moved.
    pub fn forward(&self, params: &[f32], buffers: &mut [f32], batch: &Batch<'_>, tape: &mut Tape) -> Result<Vec<f32>, Failure> {
        match &self.family {
            Family::Xcit(own) => own.forward(params, buffers, batch, &mut tape.xcit),
            Family::Vit(own) => own.forward(params, batch, &mut tape.vit),
        }
    }

    /// As [`forward`](Self::forward), but keeps nothing for a backward pass: for a teacher.
    pub fn forward_only(&self, params: &[f32], buffers: &mut [f32], batch: &Batch<'_>, tape: &mut Tape) -> Result<Vec<f32>, Failure> {
        match &self.family {
            Family::Xcit(own) => own.forward_only(params, buffers, batch, &mut tape.xcit),
            Family::Vit(own) => own.features(params, batch, &mut tape.vit),
        }
    }

    /// Adds the gradients of all parameters to `grads`, from that of the class tokens of the last [`forward`](Self::forward).
    pub fn backward(
        &self,
        params: &[f32],
        batch: &Batch<'_>,
        tape: &mut Tape,
        d_class: &[f32],
        grads: &mut [f32],
        d_pixels: Option<&mut Vec<f32>>,
    ) -> Result<(), Failure> {
        match &self.family {
            Family::Xcit(own) => own.backward(params, batch, &mut tape.xcit, d_class, grads, d_pixels),
            Family::Vit(own) => own.backward(params, batch, &mut tape.vit, d_class, grads, d_pixels),
        }
    }

    /// Returns the class tokens (n × D) in evaluation mode: the representation.
    pub fn features(&self, weights: &Weights, batch: &Batch<'_>, tape: &mut Tape) -> Result<Vec<f32>, Failure> {
        match &self.family {
            Family::Xcit(own) => own.features(weights, batch, &mut tape.xcit),
            Family::Vit(own) => own.features(&weights.params, batch, &mut tape.vit),
        }
    }

    /// Returns all tokens after the final norm (n × T × D; the class token, a ViT's registers, the patches) in evaluation mode, and how the
    /// class token attends to them in the last (class-attention) block (n × heads × T).
    pub fn tokens(&self, weights: &Weights, batch: &Batch<'_>, tape: &mut Tape) -> Result<(Vec<f32>, Vec<f32>), Failure> {
        match &self.family {
            Family::Xcit(own) => own.tokens(weights, batch, &mut tape.xcit),
            Family::Vit(own) => own.tokens(&weights.params, batch, &mut tape.vit),
        }
    }
}

//! All numbers of a DINO training (Caron et al. 2021, arXiv:2104.14294).

use serde::{Deserialize, Serialize};

use super::optimiser::Clip;

/// A recipe by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preset {
    /// The code published with arXiv:2304.05163, its reversed momentum put right (method notes D24, D26 to D29).
    #[default]
    Paper,
    /// DINO's own defaults for small networks.
    Dino,
    /// Small pictures, small networks, minutes on a CPU: fewer prototypes, faster teacher.
    Light,
}

crate::params! {
    /// The numbers of a training. Those not given are the preset's.
    pub struct DinoRecipe {
        pub preset: Preset = Preset::Paper,
        pub epochs: Option<usize> = None,
        /// Images per step; each gives two global and the local views.
        pub batch: Option<usize> = None,
        /// Peak learning rate for 256 images per step; scaled by batch/256.
        pub lr: Option<f64> = None,
        pub final_lr: Option<f64> = None,
        pub warm_up_epochs: Option<usize> = None,
        /// From and to, along half a cosine.
        pub weight_decay: Option<(f64, f64)> = None,
        /// The teacher keeps this share of itself in each step: from and to, along half a cosine.
        pub momentum: Option<(f64, f64)> = None,
        pub student_temp: Option<f64> = None,
        /// From and to, in a straight line over `teacher_temp_epochs`.
        pub teacher_temp: Option<(f64, f64)> = None,
        pub teacher_temp_epochs: Option<usize> = None,
        pub centre_momentum: Option<f64> = None,
        pub clip: Option<Clip> = None,
        /// Epochs in which the last layer stands still.
        pub freeze_last_layer: Option<usize> = None,
        /// Epochs at the start in which the head learns alone, so that it finds its place before a pretrained backbone moves.
        pub freeze_backbone: usize = 0,
        /// Learning rate of each layer of the backbone, of what the one above it gets.
        pub layer_decay: f64 = 1.0,
        /// Prototypes.
        pub outputs: Option<usize> = None,
        pub hidden: Option<usize> = None,
        pub bottleneck: Option<usize> = None,
        /// Linear layers of the head before the last.
        pub head_layers: Option<usize> = None,
        /// Steps between rows of the training curve; by default about 200 rows in all.
        pub curve_every: Option<usize> = None,
        /// Parts in which a step's images pass the networks, one after the other: less memory. Batch norm then sees each part alone.
        pub accumulate: usize = 1,
        /// Whether backward passes compute the blocks' activations again: less memory, a quarter more time, the same bits.
        pub checkpoint_blocks: bool = false,
        /// Share of images whose branches the student's last block leaves out; grows from 0 in the first (DINO: 0.1; method note D36).
        pub drop_path: f64 = 0.0,
        /// Whether a training that collapsed or diverges ends at once, as a failure.
        pub stop_on_collapse: bool = false,
    }
}

/// A recipe with every number filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    pub epochs: usize,
    pub batch: usize,
    pub lr: f64,
    pub final_lr: f64,
    pub warm_up_epochs: usize,
    pub weight_decay: (f64, f64),
    pub momentum: (f64, f64),
    pub student_temp: f64,
    pub teacher_temp: (f64, f64),
    pub teacher_temp_epochs: usize,
    pub centre_momentum: f64,
    pub clip: Clip,
    pub freeze_last_layer: usize,
    pub freeze_backbone: usize,
    pub layer_decay: f64,
    pub outputs: usize,
    pub hidden: usize,
    pub bottleneck: usize,
    pub head_layers: usize,
    pub curve_every: Option<usize>,
    pub accumulate: usize,
    pub checkpoint_blocks: bool,
    pub drop_path: f64,
    pub stop_on_collapse: bool,
}

impl Preset {
    fn numbers(self) -> Numbers {
        let paper = Numbers {
            epochs: 500,
            batch: 256,
            lr: 5e-4,
            final_lr: 0.0,
            warm_up_epochs: 2,
            weight_decay: (0.04, 0.4),
            momentum: (0.9995, 1.0),
            student_temp: 0.1,
            teacher_temp: (0.02, 0.04),
            teacher_temp_epochs: 10,
            centre_momentum: 0.9,
            clip: Clip::Agc(0.32),
            freeze_last_layer: 1,
            freeze_backbone: 0,
            layer_decay: 1.0,
            outputs: 65_536,
            hidden: 2048,
            bottleneck: 256,
            head_layers: 3,
            curve_every: None,
            accumulate: 1,
            checkpoint_blocks: false,
            drop_path: 0.0,
            stop_on_collapse: false,
        };
        match self {
            Self::Paper => paper,
            Self::Dino => Numbers {
                epochs: 100,
                final_lr: 1e-6,
                warm_up_epochs: 10,
                momentum: (0.996, 1.0),
                teacher_temp: (0.04, 0.04),
                teacher_temp_epochs: 0,
                clip: Clip::Tensor(3.0),
                ..paper
            },
            Self::Light => Numbers {
                epochs: 20,
                batch: 64,
                lr: 4e-3,
                final_lr: 1e-5,
                warm_up_epochs: 2,
                weight_decay: (0.04, 0.1),
                momentum: (0.99, 1.0),
                teacher_temp: (0.04, 0.04),
                teacher_temp_epochs: 0,
                outputs: 1024,
                hidden: 256,
                bottleneck: 64,
                ..paper
            },
        }
    }
}

impl DinoRecipe {
    /// Returns every number.
    pub fn numbers(&self) -> Numbers {
        let of = self.preset.numbers();
        Numbers {
            epochs: self.epochs.unwrap_or(of.epochs),
            batch: self.batch.unwrap_or(of.batch),
            lr: self.lr.unwrap_or(of.lr),
            final_lr: self.final_lr.unwrap_or(of.final_lr),
            warm_up_epochs: self.warm_up_epochs.unwrap_or(of.warm_up_epochs),
            weight_decay: self.weight_decay.unwrap_or(of.weight_decay),
            momentum: self.momentum.unwrap_or(of.momentum),
            student_temp: self.student_temp.unwrap_or(of.student_temp),
            teacher_temp: self.teacher_temp.unwrap_or(of.teacher_temp),
            teacher_temp_epochs: self.teacher_temp_epochs.unwrap_or(of.teacher_temp_epochs),
            centre_momentum: self.centre_momentum.unwrap_or(of.centre_momentum),
            clip: self.clip.unwrap_or(of.clip),
            freeze_last_layer: self.freeze_last_layer.unwrap_or(of.freeze_last_layer),
            freeze_backbone: self.freeze_backbone,
            layer_decay: self.layer_decay,
            outputs: self.outputs.unwrap_or(of.outputs),
            hidden: self.hidden.unwrap_or(of.hidden),
            bottleneck: self.bottleneck.unwrap_or(of.bottleneck),
            head_layers: self.head_layers.unwrap_or(of.head_layers),
            curve_every: self.curve_every,
            accumulate: self.accumulate,
            checkpoint_blocks: self.checkpoint_blocks,
            drop_path: self.drop_path,
            stop_on_collapse: self.stop_on_collapse,
        }
    }

    /// Returns every value that cannot be used: the field, and what is wrong with it.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let n = self.numbers();
        let mut wrong = Vec::new();
        let mut must = |holds: bool, field: &'static str, what: String| {
            if !holds {
                wrong.push((field, what));
            }
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        must(n.epochs > 0, "epochs", "must be at least 1, got 0".into());
        must(n.batch > 1, "batch", format!("must be at least 2, got {}: batch norm needs more than one image", n.batch));
        must(positive(n.lr), "lr", format!("must be finite and above 0, got {}", n.lr));
        must(n.final_lr.is_finite() && n.final_lr >= 0.0, "final_lr", format!("must be finite and not negative, got {}", n.final_lr));
        let share = |x: f64| (0.0..=1.0).contains(&x);
        must(share(n.momentum.0) && share(n.momentum.1), "momentum", format!("must lie between 0 and 1, got {:?}", n.momentum));
        must(share(n.centre_momentum), "centre_momentum", format!("must lie between 0 and 1, got {}", n.centre_momentum));
        must(positive(n.student_temp), "student_temp", format!("must be finite and above 0, got {}", n.student_temp));
        must(
            positive(n.teacher_temp.0) && positive(n.teacher_temp.1),
            "teacher_temp",
            format!("must be above 0, got {:?}", n.teacher_temp),
        );
        let decay = n.weight_decay;
        must(decay.0 >= 0.0 && decay.1 >= 0.0, "weight_decay", format!("must not be negative, got {decay:?}"));
        must(n.outputs > 1, "outputs", format!("must be at least 2, got {}", n.outputs));
        must(n.hidden > 0, "hidden", "must be at least 1, got 0".into());
        must(n.bottleneck > 0, "bottleneck", "must be at least 1, got 0".into());
        must(n.head_layers > 1, "head_layers", format!("must be at least 2, got {}", n.head_layers));
        let parts = 1..=(n.batch / 2).max(1);
        let room = format!("must leave at least 2 images in each part of a batch of {}, got {}", n.batch, n.accumulate);
        must(parts.contains(&n.accumulate), "accumulate", room);
        must((0.0..1.0).contains(&n.drop_path), "drop_path", format!("must be 0 or more and below 1, got {}", n.drop_path));
        must(n.layer_decay > 0.0 && n.layer_decay <= 1.0, "layer_decay", format!("must lie above 0 and up to 1, got {}", n.layer_decay));
        must(n.curve_every != Some(0), "curve_every", "must be at least 1, got 0".into());
        wrong
    }
}

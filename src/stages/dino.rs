//! `Dino`: images -> a network trained without labels. There is no port through which labels could come.
//!
//! A watcher sees what the teacher makes of some images on the way (`watch`), and knows their labels by itself: see `Watch`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::backbone::{Backbone, PICTURE_MEMORY, model_bytes, preprocessing};
use super::io::{self, Shelf};
use super::kinds::{CURVE, HEAD, IMAGES, LOG, MODEL, PACK, SHEET, SNAPSHOTS, WEIGHTS};
use super::watch::snapshots_bytes;
use crate::data::{self, Augment, MultiCrop, PlainViews, Recipe, contact_sheet};
use crate::diagnostic::{Context, Failure};
use crate::model::open_gpu;
use crate::params::Ref;
use crate::report::{DinoPoint, TrainingCurve, Verdict};
use crate::stage::{Complaint, Device, Input, Io, Needs, Output, Stage};
use crate::train::{self, Clip, Curve, DinoRecipe, State, Watch, train_dino};

/// Training numbers and augmentations that go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preset {
    /// The code published with arXiv:2304.05163.
    #[default]
    Paper,
    /// The same under the name of that code.
    Sparsam,
    /// DINO's own defaults (arXiv:2104.14294).
    Dino,
    /// Small grey pictures, small networks, minutes on a CPU.
    Light,
    /// The same for microscopy, where colour carries meaning.
    Cells,
}

crate::params! {
    /// Self-distillation without labels (Caron et al. 2021, arXiv:2104.14294). Numbers not given are the preset's.
    pub struct Dino {
        pub images: Ref = Ref::default(),
        pub backbone: Backbone = Backbone::default(),
        /// A `Pack` of the images, so that they are not decoded again in every epoch; no view differs for it.
        pub pack: Ref = Ref::default(),
        /// A model to start from; random weights without one.
        pub start: Ref = Ref::default(),
        pub preset: Preset = Preset::Paper,
        pub augment: Augment = Augment::default(),
        pub epochs: Option<usize> = None,
        /// Images per step.
        pub batch: Option<usize> = None,
        /// Peak learning rate for 256 images per step; scaled by batch/256.
        pub lr: Option<f64> = None,
        pub final_lr: Option<f64> = None,
        pub warm_up_epochs: Option<usize> = None,
        pub weight_decay: Option<(f64, f64)> = None,
        /// The teacher keeps this share of itself in each step: from and to.
        pub momentum: Option<(f64, f64)> = None,
        pub student_temp: Option<f64> = None,
        pub teacher_temp: Option<(f64, f64)> = None,
        pub teacher_temp_epochs: Option<usize> = None,
        pub centre_momentum: Option<f64> = None,
        pub clip: Option<Clip> = None,
        pub freeze_last_layer: Option<usize> = None,
        /// Epochs at the start in which the head learns alone, so that it finds its place before the backbone at `start` moves.
        pub freeze_backbone: usize = 0,
        /// Learning rate of each layer of the backbone, of what the one above it gets: below 1 a start is kept longer near the pixels.
        pub layer_decay: f64 = 1.0,
        /// Prototypes: width of the head's output.
        pub outputs: Option<usize> = None,
        pub hidden: Option<usize> = None,
        pub bottleneck: Option<usize> = None,
        pub head_layers: Option<usize> = None,
        /// Steps between rows of the training curve; by default about 200 rows in all.
        pub curve_every: Option<usize> = None,
        /// Parts in which a step's images pass the networks, one after the other, so that a large batch fits into little memory: one step,
        /// one move of the centre and one of the teacher for all of them together. Batch norm sees each part alone.
        pub accumulate: usize = 1,
        /// Compute the blocks' activations again in the backward pass instead of keeping them: less memory, more time, the same bits.
        pub checkpoint_blocks: bool = false,
        /// Stochastic depth: share of images whose branches the student's last block leaves out, growing from 0 in the first. Of a vision
        /// transformer alone: DINO trained its own with 0.1.
        pub drop_path: f64 = 0.0,
        /// End as a failure, with a checkpoint kept, once the training has collapsed or diverges.
        pub stop_on_collapse: bool = false,
        /// Images of which the teacher's representations are kept on the way, for a `Watch`.
        pub watch: Ref = Ref::default(),
        /// Steps between two such looks; by default a twentieth of the training.
        pub watch_every: Option<usize> = None,
    }
}

impl Dino {
    fn training(&self) -> DinoRecipe {
        let preset = match self.preset {
            Preset::Paper | Preset::Sparsam => train::Preset::Paper,
            Preset::Dino => train::Preset::Dino,
            Preset::Light | Preset::Cells => train::Preset::Light,
        };
        DinoRecipe {
            preset,
            epochs: self.epochs,
            batch: self.batch,
            lr: self.lr,
            final_lr: self.final_lr,
            warm_up_epochs: self.warm_up_epochs,
            weight_decay: self.weight_decay,
            momentum: self.momentum,
            student_temp: self.student_temp,
            teacher_temp: self.teacher_temp,
            teacher_temp_epochs: self.teacher_temp_epochs,
            centre_momentum: self.centre_momentum,
            clip: self.clip,
            freeze_last_layer: self.freeze_last_layer,
            freeze_backbone: self.freeze_backbone,
            layer_decay: self.layer_decay,
            outputs: self.outputs,
            hidden: self.hidden,
            bottleneck: self.bottleneck,
            head_layers: self.head_layers,
            curve_every: self.curve_every,
            accumulate: self.accumulate,
            checkpoint_blocks: self.checkpoint_blocks,
            drop_path: self.drop_path,
            stop_on_collapse: self.stop_on_collapse,
        }
    }

    fn views(&self) -> Recipe {
        let preset = match self.preset {
            Preset::Paper | Preset::Sparsam => data::Preset::Paper,
            Preset::Dino => data::Preset::Dino,
            Preset::Light => data::Preset::Light,
            Preset::Cells => data::Preset::Cells,
        };
        Augment { preset: self.augment.preset.or(Some(preset)), ..self.augment.clone() }.recipe()
    }
}

/// Complaints about views that do not divide into patches.
pub(super) fn patches_fit(backbone: &Backbone, recipe: &Recipe) -> Vec<Complaint> {
    let Ok(sizes) = backbone.sizes() else { return Vec::new() };
    let sides: std::collections::BTreeSet<usize> = recipe.views.iter().map(|v| v.side).collect();
    let wrong = sides.into_iter().filter(|side| sizes.grid(*side, *side).is_err());
    wrong
        .map(|side| Complaint {
            field: "augment".to_string(),
            message: format!(
                "must make views whose side is a multiple of the patch of {}, such as {}, got {side}",
                sizes.patch(),
                side.next_multiple_of(sizes.patch())
            ),
        })
        .collect()
}

impl Stage for Dino {
    fn kind(&self) -> &'static str {
        "Dino"
    }

    fn version(&self) -> u32 {
        8
    }

    fn params(&self) -> Value {
        // What is traded for memory and when a failure ends do not touch a result's bytes.
        let decisive = Self { checkpoint_blocks: false, stop_on_collapse: false, ..self.clone() };
        serde_json::to_value(decisive).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = io::complaints("", self.training().check());
        complaints.extend(io::complaints("backbone", self.backbone.check()));
        complaints.extend(io::complaints("augment", self.augment.check()));
        complaints.extend(patches_fit(&self.backbone, &self.views()));
        if self.drop_path != 0.0 && matches!(self.backbone, Backbone::Xcit(_)) {
            complaints.push(Complaint { field: "drop_path".into(), message: "is for a `Vit`: an `Xcit` trains whole".into() });
        }
        if self.watch_every == Some(0) {
            complaints.push(Complaint { field: "watch_every".into(), message: "must be at least 1, got 0".into() });
        }
        complaints
    }

    fn inputs(&self) -> Vec<Input> {
        let start = Input::optional("start", &self.start, MODEL);
        let weights = Input::beside("weights", &self.images, WEIGHTS);
        vec![
            Input::required("images", &self.images, IMAGES),
            weights,
            start,
            Input::optional("watch", &self.watch, IMAGES),
            Input::optional("pack", &self.pack, PACK),
        ]
    }

    fn outputs(&self) -> Vec<Output> {
        let mut outputs = vec![
            Output::file("teacher", MODEL),
            Output::file("student", MODEL),
            Output::file("head", HEAD),
            Output::file("curve", CURVE),
            Output::file("log", LOG),
            Output::file("sheet", SHEET),
        ];
        outputs.extend((!self.watch.is_empty()).then(|| Output::file("snapshots", SNAPSHOTS)));
        outputs
    }

    fn seeded(&self) -> bool {
        true
    }

    fn needs(&self, device: &Device) -> Needs {
        Needs::whole(device)
    }

    fn tolerance(&self, _: &str) -> Option<f64> {
        Some(0.05)
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let gpu = open_gpu(io.device())?;
        let images = io::images(io, "images")?;
        let (sizes, weights) = self.backbone.start(io, io.seed())?;
        let recipe = self.views();
        let shelf = Shelf(io.library());
        io::write_bytes(io, "sheet", &contact_sheet(&images, &shelf, &recipe, io.seed(), 6)?)?;
        let weights_of_images = io.optional("weights").map(|_| io::pool_weights(io, "weights")?.of(&images)).transpose()?;
        let held = io::packed(io, &images, recipe.base, recipe.resize)?;
        let views = MultiCrop::new(&held, &shelf, recipe.clone(), io.seed(), PICTURE_MEMORY, io.monitor())?;
        let views = views.weighted(weights_of_images.unwrap_or_default());
        let watched = io.optional("watch").map(|_| io::images(io, "watch")).transpose()?;
        let look = preprocessing(&recipe);
        let pictures = watched
            .as_ref()
            .map(|images| PlainViews::new(images, &shelf, look.side, look.filter, look.normalisation, PICTURE_MEMORY, io.monitor()));
        let pictures = pictures.transpose()?;
        let watch = pictures.as_ref().map(|pictures| Watch { pictures, every: self.watch_every });
        let (seed, n_views, folder, gpu) = (io.seed(), views.n_views(), io.state()?, gpu.as_ref());
        let trained = train_dino(&sizes, &self.training(), weights, &views, n_views, watch, seed, folder, gpu, io.monitor())?;

        io.monitor().note(&trained.curve.verdict.words());
        if let Some(images) = &watched {
            let per_epoch = trained.curve.steps_per_epoch;
            io::write_bytes(io, "snapshots", &snapshots_bytes(images, &trained.snapshots, sizes.dim(), per_epoch)?)?;
        }
        if let Some(last) = trained.curve.rows.last() {
            io.metric("loss", last.loss);
            io.metric("feature_std", last.feature_std);
        }
        io::write_bytes(io, "teacher", &model_bytes("DINO", &sizes, &trained.state.teacher.backbone, &recipe)?)?;
        io::write_bytes(io, "student", &model_bytes("DINO student", &sizes, &trained.state.student.backbone, &recipe)?)?;
        io::write_bytes(io, "head", &head_bytes(&trained.state)?)?;
        io::write_json(io, "curve", &shown(&trained.curve))?;
        io::write_json(io, "log", &trained.curve)
    }
}

/// Both heads and the centre as safetensors: `student.*`, `teacher.*`, `centre`.
fn head_bytes(state: &State) -> Result<Vec<u8>, Failure> {
    use safetensors::tensor::{Dtype, TensorView};
    let what = || "failed to write the projection heads";
    let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let mut data = vec![("centre".to_string(), vec![1, state.centre.len()], bytes(&state.centre))];
    for (who, pair) in [("student", &state.student), ("teacher", &state.teacher)] {
        for entry in pair.head.layout.params() {
            data.push((format!("{who}.{}", entry.name), entry.shape.clone(), bytes(&pair.head.params[entry.range()])));
        }
    }
    let views = data
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes).doing(what)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    safetensors::serialize(views, None).doing(what)
}

/// The curve as reports draw it.
fn shown(curve: &Curve) -> TrainingCurve {
    let point = |row: &train::CurveRow| DinoPoint {
        epoch: row.epoch,
        loss: row.loss,
        teacher_entropy: row.teacher_entropy,
        kl: row.kl,
        centre_norm: row.centre_norm,
        feature_std: row.feature_std,
        effective_rank: row.effective_rank,
        learning_rate: row.learning_rate,
        teacher_momentum: row.teacher_momentum,
    };
    let points: Vec<DinoPoint> = curve.rows.iter().map(point).collect();
    let mut shown = TrainingCurve::dino("DINO", &points, curve.ln_k.exp().round() as usize);
    let words = curve.verdict.words();
    shown.verdict = Some(match curve.verdict {
        train::Verdict::Learning => Verdict::Good(words),
        train::Verdict::TooEarly => Verdict::Doubtful(words),
        _ => Verdict::Bad(words),
    });
    shown
}

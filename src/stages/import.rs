//! `Import`: a checkpoint of another program -> a model. Every tensor is accounted for.

use serde_json::Value;

use super::backbone::Backbone;
use super::io;
use super::kinds::{ACCOUNTING, MODEL};
use crate::data::{Filter, Normalisation};
use crate::diagnostic::{Context, Failure};
use crate::model::{About, Allowed, Interpolation, ModelFile, Preprocessing, Sizes, import};
use crate::params::DataPath;
use crate::stage::{Complaint, Io, Output, Source, Stage};

crate::params! {
    /// A checkpoint under the names of timm, facebookresearch (XCiT, DINO, DINOv2), Hugging Face (ViT, Dinov2) or sparsam, and the
    /// preprocessing it expects: `.safetensors`, what `torch.save` wrote (nothing in it is run), or `.onnx`.
    pub struct Import {
        pub checkpoint: DataPath = DataPath::default(),
        pub backbone: Backbone = Backbone::default(),
        /// Side of the images it was trained on, in pixels.
        pub side: usize = 224,
        pub filter: Filter = Filter::Bicubic,
        pub normalise: Normalisation = Normalisation::ImageNet,
        /// Tensors that the file may lack, in timm's names (`"norm.bias"`, or `"norm"` for all below it): they start as if untrained.
        pub allow_missing: Vec<String> = Vec::new(),
        /// Tensors that the file may have though the backbone does not.
        pub allow_unexpected: Vec<String> = Vec::new(),
    }
}

impl Import {
    /// What the file must be; for published weights the command that makes it.
    fn about(&self) -> String {
        let Some(published) = self.in_timm() else {
            return "a checkpoint of this backbone (safetensors, PyTorch or ONNX), under the names of timm, facebookresearch, Hugging Face \
                    or sparsam"
                .to_string();
        };
        let file = self.checkpoint.as_str().rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("model.safetensors");
        format!(
            "the weights of this backbone as safetensors; Python with timm makes the file: \
             python -c \"import timm, safetensors.torch as st; \
             st.save_file(timm.create_model('{published}', pretrained=True).state_dict(), '{file}')\""
        )
    }

    /// Returns the name in timm of weights that were published for this variant.
    fn in_timm(&self) -> Option<String> {
        match &self.backbone {
            // None for patches of 4.
            Backbone::Xcit(xcit) => {
                let name = xcit.variant.as_deref().map(|name| name.strip_prefix("xcit_").unwrap_or(name))?;
                (name.ends_with("_p8") || name.ends_with("_p16")).then(|| format!("xcit_{name}_224.fb_dist_in1k"))
            }
            // Of DINO's none for the tiny one.
            Backbone::Vit(vit) => {
                let name = vit.variant.as_deref().map(|name| name.strip_prefix("vit_").unwrap_or(name))?;
                let (width, patch) = name.split_once("_p")?;
                match patch {
                    "14" => Some(format!("vit_{width}_patch14_dinov2.lvd142m")),
                    "14_reg4" => Some(format!("vit_{width}_patch14_reg4_dinov2.lvd142m")),
                    "8" | "16" => (width != "tiny").then(|| format!("vit_{width}_patch{patch}_224.dino")),
                    _ => None,
                }
            }
        }
    }
}

impl Stage for Import {
    fn kind(&self) -> &'static str {
        "Import"
    }

    fn version(&self) -> u32 {
        2
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = io::complaints("backbone", self.backbone.check());
        if let Ok(sizes) = self.backbone.sizes()
            && sizes.grid(self.side, self.side).is_err()
        {
            let message = format!("must be a multiple of the patch of {}, got {}", sizes.patch(), self.side);
            complaints.push(Complaint { field: "side".into(), message });
        }
        complaints.extend(self.normalise.check().map(|message| Complaint { field: "normalise".into(), message }));
        complaints
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source { role: "checkpoint".into(), path: self.checkpoint.clone(), about: self.about() }]
    }

    fn seeded(&self) -> bool {
        !self.allow_missing.is_empty()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("model", MODEL), Output::file("accounting", ACCOUNTING)]
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let path = &io.source("checkpoint")?.root;
        let bytes = std::fs::read(path).doing(|| format!("failed to read `{}`", path.display()))?;
        let sizes = self.backbone.sizes()?;
        let allowed = Allowed { missing: self.allow_missing.clone(), seed: io.seed(), unexpected: self.allow_unexpected.clone() };
        let (weights, accounting) = import(bytes, &sizes, &allowed)?;
        let preprocessing = Preprocessing { side: self.side, filter: self.filter, normalisation: self.normalise };
        accounting.notes().iter().for_each(|note| io.monitor().note(note));
        io.monitor().note(&format!("pictures are to be {preprocessing}"));
        if let Sizes::Vit(own) = &sizes
            && accounting.from_hugging_face
            && (own.registers, own.interpolation) == (0, Interpolation::Antialiased)
            && own.side != self.side
        {
            io.monitor()
                .note("Hugging Face's network takes positions to other sizes by `interpolation: Plain`, and has other features then");
        }
        io::write_json(io, "accounting", &accounting)?;
        let about = About { what: "imported".to_string(), sizes, preprocessing, classes: None };
        io::write_bytes(io, "model", &ModelFile { weights, about }.to_bytes()?)
    }
}

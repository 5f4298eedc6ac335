//! `Import`: a checkpoint of another program -> a model. Every tensor is accounted for.

use serde_json::Value;

use super::backbone::Backbone;
use super::io;
use super::kinds::MODEL;
use crate::data::{Filter, Normalisation};
use crate::diagnostic::{Context, Failure};
use crate::model::{About, ModelFile, Preprocessing, import};
use crate::params::DataPath;
use crate::stage::{Complaint, Io, Output, Source, Stage};

crate::params! {
    /// A safetensors checkpoint under the names of timm, facebookresearch/xcit, DINO or sparsam, and the preprocessing it expects.
    pub struct Import {
        pub checkpoint: DataPath = DataPath::default(),
        pub backbone: Backbone = Backbone::default(),
        /// Side of the images it was trained on, in pixels.
        pub side: usize = 224,
        pub filter: Filter = Filter::Bicubic,
        pub normalise: Normalisation = Normalisation::ImageNet,
    }
}

impl Import {
    /// What the file must be; for a published variant the command that makes it.
    fn about(&self) -> String {
        let variant = match &self.backbone {
            Backbone::Xcit(xcit) => xcit.variant.as_deref().map(|name| name.strip_prefix("xcit_").unwrap_or(name)),
            Backbone::Vit(_) => None,
        };
        // No weights were published for patches of 4.
        let Some(variant) = variant.filter(|name| name.ends_with("_p8") || name.ends_with("_p16")) else {
            return "a safetensors checkpoint of this backbone, under the names of timm, facebookresearch/xcit, DINO or sparsam"
                .to_string();
        };
        let file = self.checkpoint.as_str().rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("model.safetensors");
        format!(
            "the weights of this backbone as safetensors; Python with timm makes the file: \
             python -c \"import timm, safetensors.torch as st; \
             st.save_file(timm.create_model('xcit_{variant}_224.fb_dist_in1k', pretrained=True).state_dict(), '{file}')\""
        )
    }
}

impl Stage for Import {
    fn kind(&self) -> &'static str {
        "Import"
    }

    fn version(&self) -> u32 {
        1
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
        complaints
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source { role: "checkpoint".into(), path: self.checkpoint.clone(), about: self.about() }]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("model", MODEL)]
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let path = &io.source("checkpoint")?.root;
        let bytes = std::fs::read(path).doing(|| format!("failed to read `{}`", path.display()))?;
        let sizes = self.backbone.sizes()?;
        let (weights, accounting) = import(&bytes, &sizes)?;
        io.monitor().note(&accounting.summary());
        let preprocessing = Preprocessing { side: self.side, filter: self.filter, normalisation: self.normalise };
        let about = About { what: "imported".to_string(), sizes, preprocessing, classes: None };
        io::write_bytes(io, "model", &ModelFile { weights, about }.to_bytes()?)
    }
}

//! Known recipes: what the paper's code did, what DINO does, and milder ones for small grey pictures and for microscopy.

use serde::{Deserialize, Serialize};

use super::steps::{Blur, Crop, Fill, Jitter, Perspective, Rotate, Step, Steps};
use crate::data::image::{Filter, Normalisation};

/// A recipe by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preset {
    /// The code published with arXiv:2304.05163 (sparsam at 9457ae3): base 256 by nearest, 2 x 256 and 5 x 96 pixels, scaled to -1..1.
    #[default]
    Paper,
    /// The same code's lighter steps for supervised training (at fa4c00e).
    PaperSupervised,
    /// DINO (Caron et al. 2021, arXiv:2104.14294): 2 x 224 and 8 x 96 pixels, ImageNet's mean and deviation.
    ///
    /// Departures: pictures are first resized to 256 x 256, and the blur is a true Gaussian instead of Pillow's box approximation.
    Dino,
    /// For small grey pictures (28 to 64 pixels): crops, flips left and right, brightness, contrast, a little blur.
    Light,
    /// For microscopy, where colour carries meaning: flips, rotation, crops, mild brightness and contrast, hardly any hue.
    Cells,
}

/// How the geometry of a view is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resampling {
    /// Perspective, rotation, crop and flips one after the other on 8-bit pixels, as torchvision does: up to three resamplings.
    #[default]
    Exact,
    /// All of them as one map and one bilinear resampling, whatever the crop's filter: faster, and less blurred and jagged.
    Fused,
}

crate::params! {
    /// How views are made: a preset, and what differs from it.
    pub struct Augment {
        /// By default that of the training, or `Paper`.
        pub preset: Option<Preset> = None,
        /// Side that every picture is first resized to, its aspect ratio not kept.
        pub base: Option<usize> = None,
        /// How it is resized.
        pub resize: Option<Filter> = None,
        /// Side of the global views, in pixels.
        pub global: Option<usize> = None,
        /// Side of the local views, in pixels.
        pub local: Option<usize> = None,
        /// Number of local views.
        pub n_local: Option<usize> = None,
        /// Share of the area in global crops.
        pub global_scale: Option<(f64, f64)> = None,
        /// Share of the area in local crops.
        pub local_scale: Option<(f64, f64)> = None,
        /// From 8-bit values to network inputs.
        pub normalise: Option<Normalisation> = None,
        /// One resampling for all of a view's geometry, or one for each step as the presets' sources do.
        pub resampling: Resampling = Resampling::Exact,
        /// Steps of the preset that are switched off.
        pub without: Vec<Step> = Vec::new(),
        /// The steps of the first global view, the second one and the local ones, where the preset's will not do at all.
        pub first: Option<Steps> = None,
        pub second: Option<Steps> = None,
        pub locals: Option<Steps> = None,
    }
}

/// One view: its side in pixels and its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewRecipe {
    pub side: usize,
    pub steps: Steps,
}

/// All that decides what views of a picture look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Side that every picture is first resized to.
    pub base: usize,
    pub resize: Filter,
    pub normalise: Normalisation,
    pub resampling: Resampling,
    /// Views 0 and 1 are global, the others local.
    pub views: Vec<ViewRecipe>,
}

/// The most local views of a picture.
const MOST_LOCAL: usize = 100;

impl Augment {
    /// Returns every value that cannot be used: the field, and what is wrong with it.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        for (field, side) in [("base", self.base), ("global", self.global), ("local", self.local)] {
            if let Some(side) = side.filter(|side| !(4..=4096).contains(side)) {
                wrong.push((field, format!("must be 4 to 4096 pixels, got {side}")));
            }
        }
        if let Some(n) = self.n_local.filter(|n| *n > MOST_LOCAL) {
            wrong.push(("n_local", format!("must be at most {MOST_LOCAL}, got {n}")));
        }
        for (field, scale) in [("global_scale", self.global_scale), ("local_scale", self.local_scale)] {
            if let Some((low, high)) = scale.filter(|(low, high)| !(0.0 < *low && low <= high && *high <= 1.0)) {
                wrong.push((field, format!("must hold 0 < least <= greatest <= 1, got ({low}, {high})")));
            }
        }
        wrong.extend(self.normalise.and_then(Normalisation::check).map(|what| ("normalise", what)));
        for (field, steps) in [("first", &self.first), ("second", &self.second), ("locals", &self.locals)] {
            let steps = steps.iter().flat_map(Steps::check);
            wrong.extend(steps.map(|(step, what)| (field, format!("`{step}` {what}"))));
        }
        wrong
    }

    /// Returns the recipe: two global views and the local ones.
    pub fn recipe(&self) -> Recipe {
        let known = Known::of(self.preset.unwrap_or_default());
        let steps = |own: &Option<Steps>, known: Steps, scale: Option<(f64, f64)>| {
            let mut steps = own.clone().unwrap_or(known);
            steps.crop.scale = scale.unwrap_or(steps.crop.scale);
            self.without.iter().fold(steps, |steps, step| steps.without(*step))
        };
        let global = self.global.unwrap_or(known.global);
        let local = self.local.unwrap_or(known.local);
        let mut views = vec![
            ViewRecipe { side: global, steps: steps(&self.first, known.first, self.global_scale) },
            ViewRecipe { side: global, steps: steps(&self.second, known.second, self.global_scale) },
        ];
        let locals = ViewRecipe { side: local, steps: steps(&self.locals, known.locals, self.local_scale) };
        // A number that `check` refuses takes no memory either: a pipeline is looked at to its end, whatever is wrong with it.
        views.extend(std::iter::repeat_n(locals, self.n_local.unwrap_or(known.n_local).min(MOST_LOCAL)));
        Recipe {
            base: self.base.unwrap_or(known.base),
            resize: self.resize.unwrap_or(known.resize),
            normalise: self.normalise.unwrap_or(known.normalise),
            resampling: self.resampling,
            views,
        }
    }

    /// Returns the recipe of the first global view alone, as supervised training uses it.
    pub fn one_crop(&self) -> Recipe {
        let mut recipe = self.recipe();
        recipe.views.truncate(1);
        recipe
    }
}

/// The values of a preset.
struct Known {
    base: usize,
    resize: Filter,
    normalise: Normalisation,
    global: usize,
    local: usize,
    n_local: usize,
    first: Steps,
    second: Steps,
    locals: Steps,
}

impl Known {
    fn of(preset: Preset) -> Self {
        match preset {
            Preset::Paper => Self::paper(),
            Preset::PaperSupervised => Self::paper_supervised(),
            Preset::Dino => Self::dino(),
            Preset::Light => Self::light(),
            Preset::Cells => Self::cells(),
        }
    }

    fn paper() -> Self {
        let view = |perspective: f64, scale: (f64, f64), blur: f64, solarize: f64| Steps {
            perspective: Perspective { p: perspective, ..Perspective::default() },
            rotate: Rotate { p: 1.0, ..Rotate::default() },
            crop: Crop { scale, ..Crop::default() },
            hflip: 0.5,
            vflip: 0.5,
            jitter: Jitter { p: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 },
            grey: 0.2,
            blur: Blur { p: blur, ..Blur::default() },
            solarize,
            ..Steps::default()
        };
        Self {
            base: 256,
            resize: Filter::Nearest,
            normalise: Normalisation::MinusOneToOne,
            global: 256,
            local: 96,
            n_local: 5,
            first: view(0.75, (0.5, 1.0), 1.0, 0.0),
            second: view(0.5, (0.5, 1.0), 0.1, 0.2),
            locals: view(0.5, (0.1, 0.5), 0.5, 0.0),
        }
    }

    fn paper_supervised() -> Self {
        let steps = Steps {
            perspective: Perspective { p: 0.25, ..Perspective::default() },
            jitter: Jitter { p: 0.25, ..Self::paper().first.jitter },
            blur: Blur { p: 0.2, ..Blur::default() },
            solarize: 0.2,
            ..Self::paper().first
        };
        Self { n_local: 0, first: steps.clone(), second: steps.clone(), locals: steps, ..Self::paper() }
    }

    fn dino() -> Self {
        let view = |scale: (f64, f64), blur: f64, solarize: f64| Steps {
            crop: Crop { scale, filter: Filter::Bicubic, ..Crop::default() },
            hflip: 0.5,
            jitter: Jitter { p: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 },
            grey: 0.2,
            blur: Blur { p: blur, kernel: 13, sigma: (0.1, 2.0) },
            solarize,
            ..Steps::default()
        };
        Self {
            base: 256,
            resize: Filter::Bicubic,
            normalise: Normalisation::ImageNet,
            global: 224,
            local: 96,
            n_local: 8,
            first: view((0.4, 1.0), 1.0, 0.0),
            second: view((0.4, 1.0), 0.1, 0.2),
            locals: view((0.05, 0.4), 0.5, 0.0),
        }
    }

    fn light() -> Self {
        let view = |scale: (f64, f64), blur: f64| Steps {
            crop: Crop { scale, ..Crop::default() },
            hflip: 0.5,
            jitter: Jitter { p: 0.8, brightness: 0.4, contrast: 0.4, ..Jitter::default() },
            blur: Blur { p: blur, kernel: 5, sigma: (0.1, 1.0) },
            ..Steps::default()
        };
        Self {
            base: 32,
            resize: Filter::Bilinear,
            normalise: Normalisation::MinusOneToOne,
            global: 32,
            local: 16,
            n_local: 4,
            first: view((0.3, 1.0), 0.5),
            second: view((0.3, 1.0), 0.1),
            locals: view((0.1, 0.4), 0.2),
        }
    }

    fn cells() -> Self {
        let view = |scale: (f64, f64), blur: f64| Steps {
            rotate: Rotate { p: 1.0, ..Rotate::default() },
            fill: Fill::Mirror,
            crop: Crop { scale, ..Crop::default() },
            hflip: 0.5,
            vflip: 0.5,
            jitter: Jitter { p: 0.8, brightness: 0.2, contrast: 0.2, saturation: 0.1, hue: 0.02 },
            blur: Blur { p: blur, kernel: 7, sigma: (0.1, 1.5) },
            ..Steps::default()
        };
        Self {
            base: 80,
            resize: Filter::Bicubic,
            normalise: Normalisation::MinusOneToOne,
            global: 64,
            local: 32,
            n_local: 4,
            first: view((0.5, 1.0), 0.5),
            second: view((0.5, 1.0), 0.1),
            locals: view((0.15, 0.5), 0.2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_recipe_is_that_of_the_published_code() {
        let recipe = Augment::default().recipe();
        let sides: Vec<usize> = recipe.views.iter().map(|v| v.side).collect();
        assert_eq!(sides, [256, 256, 96, 96, 96, 96, 96]);
        let [g0, g1, local] = [0, 1, 2].map(|v| &recipe.views[v].steps);
        assert_eq!([g0, g1, local].map(|s| s.perspective.p), [0.75, 0.5, 0.5]);
        assert_eq!([g0, g1, local].map(|s| s.blur.p), [1.0, 0.1, 0.5]);
        assert_eq!([g0, g1, local].map(|s| s.solarize), [0.0, 0.2, 0.0]);
        assert_eq!([g0, g1, local].map(|s| s.crop.scale), [(0.5, 1.0), (0.5, 1.0), (0.1, 0.5)]);
    }

    #[test]
    fn what_a_user_writes_changes_only_that() {
        let written: Augment = ron::from_str("(preset: Some(Light), global: Some(24), without: [Blur])").unwrap();
        let (recipe, light) = (written.recipe(), Augment { preset: Some(Preset::Light), ..Augment::default() }.recipe());
        assert_eq!(recipe.views[0].side, 24);
        assert_eq!(recipe.views[0].steps, light.views[0].steps.clone().without(Step::Blur));
        assert_eq!(recipe.base, light.base);
    }

    #[test]
    fn a_number_of_views_that_is_refused_takes_no_memory() {
        let many = Augment { n_local: Some(usize::MAX), ..Augment::default() };
        assert_eq!(many.check(), [("n_local", format!("must be at most 100, got {}", usize::MAX))]);
        assert_eq!(many.recipe().views.len(), 102);
    }

    #[test]
    fn every_preset_passes_its_own_check() {
        for preset in [Preset::Paper, Preset::PaperSupervised, Preset::Dino, Preset::Light, Preset::Cells] {
            let recipe = Augment { preset: Some(preset), ..Augment::default() }.recipe();
            assert!(recipe.views.iter().all(|view| view.steps.check().is_empty()), "{preset:?}");
        }
    }
}

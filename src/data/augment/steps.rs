//! What may happen to a view, how often and how strongly.
//!
//! Every step is off by default; its fields follow torchvision's transforms of the same name.

use serde::{Deserialize, Serialize};

use crate::data::image::Filter;

crate::params! {
    /// The steps of a view, in the order in which they happen. A step whose probability is 0 is off.
    pub struct Steps {
        pub perspective: Perspective = Perspective::default(),
        pub rotate: Rotate = Rotate::default(),
        /// What lies outside the picture after perspective and rotation.
        pub fill: Fill = Fill::Black,
        pub crop: Crop = Crop::default(),
        /// Probability of mirroring left and right.
        pub hflip: f64 = 0.0,
        /// Probability of mirroring top and bottom.
        pub vflip: f64 = 0.0,
        pub jitter: Jitter = Jitter::default(),
        /// Probability of becoming grey.
        pub grey: f64 = 0.0,
        pub blur: Blur = Blur::default(),
        /// Probability of inverting all values from 128 on.
        pub solarize: f64 = 0.0,
    }
    /// Random perspective (`RandomPerspective`, bilinear).
    pub struct Perspective {
        pub p: f64 = 0.0,
        /// How far a corner may move inwards, in halves of the side.
        pub distortion: f64 = 0.5,
    }
    /// Rotation about the centre by U(-degrees, degrees) (`RandomRotation`, nearest).
    pub struct Rotate {
        pub p: f64 = 0.0,
        pub degrees: f64 = 180.0,
    }
    /// A random part of the picture, resized to the view's side (`RandomResizedCrop`, antialiased).
    pub struct Crop {
        /// Least and greatest share of the area.
        pub scale: (f64, f64) = (1.0, 1.0),
        /// Least and greatest ratio of width to height.
        pub ratio: (f64, f64) = (0.75, 4.0 / 3.0),
        pub filter: Filter = Filter::Bilinear,
    }
    /// Changes of brightness, contrast, saturation and hue, in random order (`ColorJitter`).
    pub struct Jitter {
        pub p: f64 = 0.0,
        /// Factors are drawn from U(1 - x, 1 + x).
        pub brightness: f64 = 0.0,
        pub contrast: f64 = 0.0,
        pub saturation: f64 = 0.0,
        /// Shifts are drawn from U(-x, x) of the hue circle.
        pub hue: f64 = 0.0,
    }
    /// Gaussian blur with a square kernel (`GaussianBlur`).
    pub struct Blur {
        pub p: f64 = 0.0,
        /// Side of the kernel in pixels, odd.
        pub kernel: usize = 11,
        /// Least and greatest deviation in pixels.
        pub sigma: (f64, f64) = (0.1, 5.0),
    }
}

/// What lies outside the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fill {
    /// Black (torchvision's default).
    #[default]
    Black,
    /// The picture mirrored at its edge: no corner that betrays the rotation.
    Mirror,
}

/// A step by name, for switching it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    Perspective,
    Rotate,
    /// The crop becomes the whole picture, resized.
    Crop,
    Hflip,
    Vflip,
    /// All four colour changes.
    Jitter,
    Saturation,
    Hue,
    Grey,
    Blur,
    Solarize,
}

impl Steps {
    /// Switches a step off.
    pub fn without(mut self, step: Step) -> Self {
        match step {
            Step::Perspective => self.perspective.p = 0.0,
            Step::Rotate => self.rotate.p = 0.0,
            Step::Crop => self.crop = Crop { filter: self.crop.filter, ..Crop::default() },
            Step::Hflip => self.hflip = 0.0,
            Step::Vflip => self.vflip = 0.0,
            Step::Jitter => self.jitter.p = 0.0,
            Step::Saturation => self.jitter.saturation = 0.0,
            Step::Hue => self.jitter.hue = 0.0,
            Step::Grey => self.grey = 0.0,
            Step::Blur => self.blur.p = 0.0,
            Step::Solarize => self.solarize = 0.0,
        }
        self
    }

    /// Returns every value that cannot be used: the field, and what is wrong with it.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let chances = [
            ("perspective", self.perspective.p),
            ("rotate", self.rotate.p),
            ("hflip", self.hflip),
            ("vflip", self.vflip),
            ("jitter", self.jitter.p),
            ("grey", self.grey),
            ("blur", self.blur.p),
            ("solarize", self.solarize),
        ];
        for (field, p) in chances.into_iter().filter(|(_, p)| !(0.0..=1.0).contains(p)) {
            wrong.push((field, format!("must have a probability of 0 to 1, got {p}")));
        }
        if !(0.0..=1.0).contains(&self.perspective.distortion) {
            wrong.push(("perspective", format!("must have a distortion of 0 to 1, got {}", self.perspective.distortion)));
        }
        if !(0.0..=180.0).contains(&self.rotate.degrees) {
            wrong.push(("rotate", format!("must be by 0 to 180 degrees, got {}", self.rotate.degrees)));
        }
        let (low, high) = self.crop.scale;
        if !(0.0 < low && low <= high && high <= 1.0) {
            wrong.push(("crop", format!("must have a scale with 0 < least <= greatest <= 1, got ({low}, {high})")));
        }
        let (low, high) = self.crop.ratio;
        if !(0.0 < low && low <= high && high.is_finite()) {
            wrong.push(("crop", format!("must have a ratio with 0 < least <= greatest, got ({low}, {high})")));
        }
        let jitter = &self.jitter;
        for strength in [jitter.brightness, jitter.contrast, jitter.saturation].into_iter().filter(|x| !(0.0..=1.0).contains(x)) {
            wrong.push(("jitter", format!("must have strengths of 0 to 1, got {strength}")));
        }
        if !(0.0..=0.5).contains(&jitter.hue) {
            wrong.push(("jitter", format!("must shift the hue by 0 to 0.5, got {}", jitter.hue)));
        }
        if self.blur.kernel.is_multiple_of(2) || self.blur.kernel > 99 {
            wrong.push(("blur", format!("must have an odd kernel up to 99, got {}", self.blur.kernel)));
        }
        let (low, high) = self.blur.sigma;
        if !(0.0 < low && low <= high && high.is_finite()) {
            wrong.push(("blur", format!("must have a sigma with 0 < least <= greatest, got ({low}, {high})")));
        }
        wrong
    }
}

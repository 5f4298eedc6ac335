//! Does to a picture what has been drawn for a view of it.
//!
//! By default the result is that of the separate 8-bit operations one after the other. Perspective and rotation are computed only where
//! the crop needs them, which changes no pixel: the rotation picks whole pixels.

use super::draw::{Colour, Drawn};
use super::ops::{self, BlurMemory, Warp, WarpMemory};
use super::preset::Resampling;
use crate::data::image::{Rgb, Scaler};
use crate::diagnostic::Failure;

/// Working memory that is kept from one view to the next.
#[derive(Default)]
pub struct Workbench {
    part: Rgb,
    view: Rgb,
    scaler: Scaler,
    warp: WarpMemory,
    blur: BlurMemory,
}

impl Workbench {
    /// Makes the view of `side` x `side` pixels of `picture`.
    pub fn view(&mut self, picture: &Rgb, side: usize, drawn: &Drawn, resampling: Resampling) -> Result<&Rgb, Failure> {
        self.view.reshape(side, side);
        match resampling {
            Resampling::Exact => self.step_by_step(picture, drawn)?,
            Resampling::Fused => ops::fused(picture, drawn, &mut self.view, &mut self.warp),
        }
        let view = &mut self.view;
        for colour in &drawn.colours {
            match *colour {
                Colour::Brightness(factor) => ops::brightness(view, factor),
                Colour::Contrast(factor) => ops::contrast(view, factor),
                Colour::Saturation(factor) => ops::saturation(view, factor),
                Colour::Hue(shift) => ops::hue(view, shift),
            }
        }
        if drawn.grey {
            ops::grey(view);
        }
        if let Some((kernel, sigma)) = drawn.blur {
            ops::blur(view, kernel, sigma, &mut self.blur);
        }
        if drawn.solarize {
            ops::solarize(view, 128);
        }
        Ok(&self.view)
    }

    /// Warps, cuts out, resizes and mirrors: the geometry of the chain.
    fn step_by_step(&mut self, picture: &Rgb, drawn: &Drawn) -> Result<(), Failure> {
        let [left, top, width, height] = drawn.crop;
        self.part.reshape(width, height);
        Warp::new(picture.width(), picture.height(), drawn.perspective.as_ref(), drawn.rotate, drawn.fill).part(
            picture,
            left,
            top,
            &mut self.part,
            &mut self.warp,
        );
        self.scaler.resize(&self.part, &mut self.view, drawn.filter)?;
        if drawn.hflip {
            ops::hflip(&mut self.view);
        }
        if drawn.vflip {
            ops::vflip(&mut self.view);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::{Augment, Preset, draw};
    use crate::kernel::level::{Level, level, limited_to};
    use crate::random::Stream;

    #[test]
    fn views_are_the_same_bits_on_every_type_of_cpu() {
        let pixels = (0..67 * 51 * 3).map(|i| (i * i % 253) as u8).collect();
        let picture = Rgb::new(67, 51, pixels).unwrap();
        let views = |preset: Preset, resampling: Resampling| -> Vec<Rgb> {
            let recipe = Augment { preset: Some(preset), global: Some(50), local: Some(23), ..Augment::default() }.recipe();
            let mut bench = Workbench::default();
            let view = |i: usize| {
                let how = &recipe.views[i % recipe.views.len()];
                let drawn = draw(&how.steps, 67, 51, &Stream::new(9, "view").at(i as u64));
                bench.view(&picture, how.side, &drawn, resampling).unwrap().clone()
            };
            (0..40).map(view).collect()
        };
        let here = level();
        for preset in [Preset::Paper, Preset::Dino, Preset::Cells] {
            for resampling in [Resampling::Exact, Resampling::Fused] {
                let portable = limited_to(Level::Portable, || views(preset, resampling));
                assert!(portable == views(preset, resampling), "{preset:?} {resampling:?} with {here:?}");
                if here >= Level::Avx512 {
                    assert!(portable == limited_to(Level::Avx2, || views(preset, resampling)), "{preset:?} {resampling:?} with AVX2");
                }
            }
        }
    }
}

//! Does to a picture what has been drawn for a view of it.
//!
//! The result is that of the separate 8-bit operations one after the other. Perspective and rotation are computed only where the crop
//! needs them, which changes no pixel: the rotation picks whole pixels.

use super::draw::{Colour, Drawn};
use super::ops::{self, BlurMemory, Warp, WarpMemory};
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
    pub fn view(&mut self, picture: &Rgb, side: usize, drawn: &Drawn) -> Result<&Rgb, Failure> {
        let [left, top, width, height] = drawn.crop;
        self.part.reshape(width, height);
        Warp::new(picture.width(), picture.height(), drawn.perspective.as_ref(), drawn.rotate, drawn.fill).part(
            picture,
            left,
            top,
            &mut self.part,
            &mut self.warp,
        );
        self.view.reshape(side, side);
        self.scaler.resize(&self.part, &mut self.view, drawn.filter)?;
        let view = &mut self.view;
        if drawn.hflip {
            ops::hflip(view);
        }
        if drawn.vflip {
            ops::vflip(view);
        }
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
}

//! Resizing, with the arithmetic of Pillow's `Image.resize`.
//!
//! Bilinear and bicubic are antialiased convolutions in 8-bit fixed point (fast_image_resize follows Pillow there);
//! nearest is our own, so that the chosen pixel is Pillow's.

use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::U8x3;
use serde::{Deserialize, Serialize};

use super::rgb::Rgb;
use crate::diagnostic::{Context, Failure};

/// How a new pixel is made from the old ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// The pixel whose square holds the new pixel's centre.
    Nearest,
    /// Triangle filter, widened when the picture shrinks.
    #[default]
    Bilinear,
    /// Catmull-Rom (a = -0.5), widened when the picture shrinks.
    Bicubic,
    /// As `Bilinear`, but a JPEG of at least four times the new size is decoded at a half, a quarter or an eighth of its own, so that at least
    /// twice the new size is left: faster the larger it is, and a little softer. The way of Pillow's `Image.draft`.
    Draft,
}

/// Resizes pictures, keeping its working memory from one to the next.
#[derive(Default)]
pub struct Scaler {
    resizer: fir::Resizer,
}

impl Scaler {
    /// Returns a scaler with empty memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `from`, stretched to the size of `to`, into `to`; the aspect ratio is not kept.
    pub fn resize(&mut self, from: &Rgb, to: &mut Rgb, filter: Filter) -> Result<(), Failure> {
        let convolution = match filter {
            _ if (from.width(), from.height()) == (to.width(), to.height()) => {
                to.pixels_mut().copy_from_slice(from.pixels());
                return Ok(());
            }
            Filter::Nearest => {
                nearest(from, to);
                return Ok(());
            }
            Filter::Bilinear | Filter::Draft => fir::FilterType::Bilinear,
            Filter::Bicubic => fir::FilterType::CatmullRom,
        };
        let what = || "resizing";
        let (width, height) = (to.width() as u32, to.height() as u32);
        let source = TypedImageRef::<U8x3>::from_buffer(from.width() as u32, from.height() as u32, from.pixels()).doing(what)?;
        let mut target = TypedImage::<U8x3>::from_buffer(width, height, to.pixels_mut()).doing(what)?;
        let options = fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(convolution)).use_alpha(false);
        // By type, not by a value: the crate's code for every other kind of pixel would be compiled into ours.
        self.resizer.resize_typed(&source, &mut target, &options).doing(what)
    }
}

/// Returns `picture` stretched to `width` x `height`; the aspect ratio is not kept.
pub fn resize(picture: &Rgb, width: usize, height: usize, filter: Filter) -> Result<Rgb, Failure> {
    if width == 0 || height == 0 {
        return Err(Failure::new(format!("cannot resize a picture to {width} x {height} pixels")));
    }
    let mut out = Rgb::filled(width, height, [0; 3]);
    Scaler::new().resize(picture, &mut out, filter)?;
    Ok(out)
}

/// Pillow's `ImagingScaleAffine` with nearest neighbours: old = trunc((new + 0.5) * old size / new size).
fn nearest(from: &Rgb, to: &mut Rgb) {
    let (width, height) = (to.width(), to.height());
    let place = |i: usize, old: usize, new: usize| (((i as f64 + 0.5) * (old as f64 / new as f64)) as usize).min(old - 1);
    let columns: Vec<usize> = (0..width).map(|x| place(x, from.width(), width) * 3).collect();
    for y in 0..height {
        let row = &from.pixels()[place(y, from.height(), height) * from.width() * 3..];
        let out = &mut to.pixels_mut()[y * width * 3..][..width * 3];
        for (pixel, column) in out.chunks_exact_mut(3).zip(&columns) {
            pixel.copy_from_slice(&row[*column..column + 3]);
        }
    }
}

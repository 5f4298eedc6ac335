//! A contact sheet: some pictures, each beside its views, so that an eye can judge an augmentation.

use std::io::Cursor;

use super::multicrop::MultiCrop;
use crate::data::augment::Recipe;
use crate::data::image::{Filter, Rgb, resize};
use crate::data::pixels::{Files, Pictures};
use crate::data::table::{ImageRow, ImageTable};
use crate::diagnostic::{Context, Failure};
use crate::random::Stream;
use crate::stage::Silent;

/// The side of a tile and the space between tiles, in pixels.
const TILE: usize = 96;
const GAP: usize = 4;

/// Returns a PNG with a row for each of `n` images drawn from the table: the picture, then its views in epoch 0.
pub fn contact_sheet(images: &ImageTable, files: &dyn Files, recipe: &Recipe, seed: u64, n: usize) -> Result<Vec<u8>, Failure> {
    let mut rows: Vec<&ImageRow> = images.rows().iter().collect();
    rows.sort_by_cached_key(|row| Stream::new(seed, "contact sheet").of(row.id.as_str()).draws().bits());
    rows.truncate(n);
    let some = ImageTable::new(rows.into_iter().cloned().collect())?;
    if some.is_empty() {
        return Err(Failure::new("a contact sheet of no images"));
    }
    let views = MultiCrop::new(&some, files, recipe.clone(), seed, u64::MAX, &Silent)?;
    let pictures = Pictures::new(files);
    let (columns, lines) = (1 + views.n_views(), some.len());
    let mut sheet = Rgb::filled(columns * (TILE + GAP) + GAP, lines * (TILE + GAP) + GAP, [255; 3]);
    for (line, row) in some.rows().iter().enumerate() {
        place(&mut sheet, &pictures.load(row)?, 0, line)?;
        for view in 0..views.n_views() {
            views.with_pixels(line, 0, view, |pixels| place(&mut sheet, pixels, view + 1, line))??;
        }
    }
    let (width, height) = (sheet.width() as u32, sheet.height() as u32);
    let what = || "failed to write a contact sheet";
    let buffer = image::RgbImage::from_raw(width, height, sheet.into_pixels()).ok_or_else(|| Failure::new(what()))?;
    let mut png = Cursor::new(Vec::new());
    buffer.write_to(&mut png, image::ImageFormat::Png).doing(what)?;
    Ok(png.into_inner())
}

/// Puts a picture into its tile, as large as it fits there.
fn place(sheet: &mut Rgb, picture: &Rgb, column: usize, line: usize) -> Result<(), Failure> {
    let longest = picture.width().max(picture.height());
    let fit = |side: usize| (side * TILE / longest).max(1);
    let (width, height) = (fit(picture.width()), fit(picture.height()));
    let filter = if TILE.is_multiple_of(longest) { Filter::Nearest } else { Filter::Bilinear };
    let tile = resize(picture, width, height, filter)?;
    let (left, top) = (GAP + column * (TILE + GAP) + (TILE - width) / 2, GAP + line * (TILE + GAP) + (TILE - height) / 2);
    let stride = sheet.width() * 3;
    for (y, row) in tile.pixels().chunks_exact(width * 3).enumerate() {
        sheet.pixels_mut()[(top + y) * stride + left * 3..][..width * 3].copy_from_slice(row);
    }
    Ok(())
}

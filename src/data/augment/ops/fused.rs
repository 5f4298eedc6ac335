//! Perspective, rotation, crop and flips as one map, and one resampling.
//!
//! The chain of separate operations resamples up to three times: bilinear, nearest, and a triangle filter. Here each pixel of the view is
//! the mean of as many bilinear samples as the crop has pixels for it, rounded up in each direction, spread evenly over it.

use super::homography::{Homography, after, perspective, rotation};
use super::warp::WarpMemory;
use crate::data::augment::draw::Drawn;
use crate::data::image::Rgb;

/// The most samples along a side of a pixel.
const MOST_SAMPLES: usize = 16;

/// Where the places of the view of `side` x `side` pixels come from in a picture of `width` x `height`.
pub fn view_map(width: usize, height: usize, side: usize, drawn: &Drawn) -> Homography {
    let [left, top, crop_width, crop_height] = drawn.crop.map(|v| v as f64);
    let side = side as f64;
    // Along one axis: a factor and what is added.
    let axis = |start: f64, length: f64, flipped: bool| if flipped { (-length / side, start + length) } else { (length / side, start) };
    let ((a, c), (e, f)) = (axis(left, crop_width, drawn.hflip), axis(top, crop_height, drawn.vflip));
    let mut map = [a, 0.0, c, 0.0, e, f, 0.0, 0.0, 1.0];
    if let Some(degrees) = drawn.rotate {
        map = after(&rotation(width, height, degrees), &map);
    }
    if let Some(seen) = drawn.perspective.as_ref().and_then(|corners| perspective(width, height, corners)) {
        map = after(&seen, &map);
    }
    map
}

/// Makes the square view `out` of `picture`, up to its colours.
pub fn fused(picture: &Rgb, drawn: &Drawn, out: &mut Rgb, memory: &mut WarpMemory) {
    let side = out.width();
    let (width, height) = (picture.width(), picture.height());
    let map = view_map(width, height, side, drawn);
    let [across, down] = [drawn.crop[2], drawn.crop[3]].map(|length| length.div_ceil(side).clamp(1, MOST_SAMPLES));
    let WarpMemory { frame, line, sums } = memory;
    frame.take(picture);
    line.resize(side);
    for (row, out) in out.pixels_mut().chunks_exact_mut(side * 3).enumerate() {
        for sums in sums.iter_mut() {
            sums.clear();
            sums.resize(side, 0.0);
        }
        for i in 0..across * down {
            let within = |i: usize, n: usize| (i as f64 + 0.5) / n as f64;
            line.start(within(i % across, across), row as f64 + within(i / across, down));
            line.project(&map);
            line.keep_inside(width, height, drawn.fill);
            line.add_bilinear(frame, sums);
        }
        line.take_means(sums, across * down);
        line.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::{Augment, Resampling, Steps, Workbench, draw};
    use crate::random::Stream;

    /// Hills that fade towards the edge: no pixel differs from its neighbour by more than 3 levels.
    fn smooth(side: usize) -> Rgb {
        let hill = |x: usize, y: usize, phase: f64| {
            let along = |v: usize| (v as f64 + 0.5) / side as f64 * std::f64::consts::PI;
            let fade = (along(x).sin() * along(y).sin()).powi(2);
            (255.0 * fade * (0.6 + 0.4 * (2.0 * along(x) + 3.0 * along(y) + phase).sin())) as u8
        };
        let pixels = (0..side * side).flat_map(|i| [0.0, 1.0, 2.0].map(|phase| hill(i % side, i / side, phase)));
        Rgb::new(side, side, pixels.collect()).unwrap()
    }

    fn geometry_alone(steps: &Steps, i: u64) -> Drawn {
        let drawn = draw(steps, 256, 256, &Stream::new(3, "view").at(i));
        Drawn { colours: Vec::new(), grey: false, blur: None, solarize: false, ..drawn }
    }

    #[test]
    fn on_a_smooth_picture_one_resampling_is_the_chain_within_a_few_levels() {
        let (picture, recipe) = (smooth(256), Augment::default().recipe());
        let (mut bench, mut seen) = (Workbench::default(), 0);
        for i in 0..60 {
            let how = &recipe.views[i % 7];
            let drawn = geometry_alone(&how.steps, i as u64);
            let [chain, once] =
                [Resampling::Exact, Resampling::Fused].map(|by| bench.view(&picture, how.side, &drawn, by).unwrap().clone());
            let off: Vec<u32> = chain.pixels().iter().zip(once.pixels()).map(|(a, b)| u32::from(a.abs_diff(*b))).collect();
            let mean = f64::from(off.iter().sum::<u32>()) / off.len() as f64;
            // The chain's rotation is off by up to half a pixel, which perspective makes more, and its perspective cuts off what it should
            // round. Three levels from pixel to pixel, so:
            assert!(mean < 1.0 && *off.iter().max().unwrap() <= 8, "view {i}: {mean} {:?} {drawn:?}", off.iter().max());
            seen += chain.pixels().iter().filter(|v| **v > 30).count();
        }
        assert!(seen > 1_000_000, "there is something to see: {seen}");
    }

    #[test]
    fn whole_pixels_that_are_only_moved_stay_what_they_are() {
        let pixels = (0..16 * 16 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let picture = Rgb::new(16, 16, pixels).unwrap();
        let still = Drawn { crop: [3, 5, 8, 8], ..geometry_alone(&Steps::default(), 0) };
        for (hflip, vflip, degrees) in [(false, false, None), (true, false, None), (false, true, Some(90.0)), (true, true, Some(180.0))] {
            let drawn = Drawn { hflip, vflip, rotate: degrees, ..still.clone() };
            let mut bench = Workbench::default();
            let [chain, once] = [Resampling::Exact, Resampling::Fused].map(|by| bench.view(&picture, 8, &drawn, by).unwrap().clone());
            assert_eq!(chain, once, "{drawn:?}");
        }
    }

    #[test]
    fn a_crop_that_shrinks_is_the_mean_of_what_it_covers() {
        let pixels = (0..32 * 32).flat_map(|i| [if (i + i / 32) % 2 == 0 { 0 } else { 200 }; 3]).collect();
        let mut out = Rgb::filled(8, 8, [0; 3]);
        let whole = Drawn { crop: [0, 0, 32, 32], ..geometry_alone(&Steps::default(), 0) };
        fused(&Rgb::new(32, 32, pixels).unwrap(), &whole, &mut out, &mut WarpMemory::default());
        assert!(out.pixels().iter().all(|v| *v == 100), "{:?}", &out.pixels()[..24]);
    }

    #[test]
    fn the_map_has_the_angle_the_area_and_the_ratio_that_were_drawn() {
        let steps = Steps { perspective: Default::default(), ..Augment::default().recipe().views[2].steps.clone() };
        for i in 0..500 {
            let drawn = geometry_alone(&steps, i);
            let m = view_map(256, 256, 96, &drawn);
            let [_, _, width, height] = drawn.crop.map(|v| v as f64);
            let turned = m[0] * m[4] - m[1] * m[3];
            let mirrored = if drawn.hflip == drawn.vflip { 1.0 } else { -1.0 };
            assert!((turned * 96.0 * 96.0 - mirrored * width * height).abs() < 1e-6, "area");
            let ratio = m[0].hypot(m[3]) / m[1].hypot(m[4]);
            assert!((ratio - width / height).abs() < 1e-9, "ratio");
            let (flip, degrees) = (if drawn.hflip { -1.0 } else { 1.0 }, drawn.rotate.unwrap());
            // Rows count downwards: a picture that is turned counter-clockwise is looked up clockwise.
            let off = ((m[3] * flip).atan2(m[0] * flip).to_degrees() - degrees).rem_euclid(360.0);
            assert!(off.min(360.0 - off) < 1e-9, "{off} {degrees}");
        }
    }
}

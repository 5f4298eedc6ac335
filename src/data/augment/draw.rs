//! Decides what happens to one view: all random numbers are drawn here, before a pixel is touched.
//!
//! Each step has a stream of its own, so that switching one off changes no other.

use super::steps::{Crop, Fill, Steps};
use crate::data::image::Filter;
use crate::random::{Draws, Stream};

/// What happens to one view of a picture of known size.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// Where the corners (top left, top right, bottom right, bottom left) move to.
    pub perspective: Option<[[f64; 2]; 4]>,
    /// Degrees, counter-clockwise.
    pub rotate: Option<f64>,
    pub fill: Fill,
    /// Left, top, width, height.
    pub crop: [usize; 4],
    pub filter: Filter,
    pub hflip: bool,
    pub vflip: bool,
    /// The colour changes in their order.
    pub colours: Vec<Colour>,
    pub grey: bool,
    /// Kernel side and deviation.
    pub blur: Option<(usize, f64)>,
    pub solarize: bool,
}

/// A change of colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colour {
    Brightness(f64),
    Contrast(f64),
    Saturation(f64),
    Hue(f64),
}

/// Draws what happens to a view of a picture of `width` x `height` pixels.
pub fn draw(steps: &Steps, width: usize, height: usize, stream: &Stream) -> Drawn {
    let on = |name: &str, p: f64| -> Option<Draws> {
        if p <= 0.0 {
            return None;
        }
        let mut draws = stream.clone().of(name).draws();
        draws.chance(p).then_some(draws)
    };
    Drawn {
        perspective: on("perspective", steps.perspective.p).map(|d| corners(steps.perspective.distortion, width, height, d)),
        rotate: on("rotate", steps.rotate.p).map(|mut d| d.between(-steps.rotate.degrees, steps.rotate.degrees)),
        fill: steps.fill,
        crop: crop(&steps.crop, width, height, stream),
        filter: steps.crop.filter,
        hflip: on("hflip", steps.hflip).is_some(),
        vflip: on("vflip", steps.vflip).is_some(),
        colours: on("jitter", steps.jitter.p).map_or_else(Vec::new, |d| colours(steps, d)),
        grey: on("grey", steps.grey).is_some(),
        blur: on("blur", steps.blur.p).map(|mut d| (steps.blur.kernel, d.between(steps.blur.sigma.0, steps.blur.sigma.1))),
        solarize: on("solarize", steps.solarize).is_some(),
    }
}

/// `torchvision.transforms.RandomPerspective.get_params`: each corner moves inwards by a whole number of pixels.
fn corners(distortion: f64, width: usize, height: usize, mut draws: Draws) -> [[f64; 2]; 4] {
    let reach = |side: usize| (distortion * (side / 2) as f64) as usize;
    let (x, y) = (reach(width), reach(height));
    let mut inwards = |reach: usize| draws.below(reach + 1) as f64;
    let (right, bottom) = (width as f64 - 1.0, height as f64 - 1.0);
    let top_left = [inwards(x), inwards(y)];
    let top_right = [right - inwards(x), inwards(y)];
    let bottom_right = [right - inwards(x), bottom - inwards(y)];
    let bottom_left = [inwards(x), bottom - inwards(y)];
    [top_left, top_right, bottom_right, bottom_left]
}

/// `torchvision.transforms.RandomResizedCrop.get_params`: ten tries, then the largest central part of a legal ratio.
fn crop(how: &Crop, width: usize, height: usize, stream: &Stream) -> [usize; 4] {
    let whole = [0, 0, width, height];
    if how.scale == (1.0, 1.0) {
        return whole;
    }
    let mut draws = stream.clone().of("crop").draws();
    let area = (width * height) as f64;
    for _ in 0..10 {
        let target = area * draws.between(how.scale.0, how.scale.1);
        let ratio = draws.between(how.ratio.0.ln(), how.ratio.1.ln()).exp();
        let (w, h) = ((target * ratio).sqrt().round() as usize, (target / ratio).sqrt().round() as usize);
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = draws.below(height - h + 1);
            return [draws.below(width - w + 1), top, w, h];
        }
    }
    let ratio = width as f64 / height as f64;
    let (w, h) = if ratio < how.ratio.0 {
        (width, (width as f64 / how.ratio.0).round() as usize)
    } else if ratio > how.ratio.1 {
        ((height as f64 * how.ratio.1).round() as usize, height)
    } else {
        (width, height)
    };
    let (w, h) = (w.clamp(1, width), h.clamp(1, height));
    [(width - w) / 2, (height - h) / 2, w, h]
}

/// `torchvision.transforms.ColorJitter.get_params`.
fn colours(steps: &Steps, mut draws: Draws) -> Vec<Colour> {
    let jitter = &steps.jitter;
    let order = draws.permutation(4);
    let mut factor = |strength: f64| draws.between((1.0 - strength).max(0.0), 1.0 + strength);
    let (brightness, contrast, saturation) = (factor(jitter.brightness), factor(jitter.contrast), factor(jitter.saturation));
    let hue = draws.between(-jitter.hue, jitter.hue);
    let of = |which: usize| match which {
        0 => (jitter.brightness > 0.0).then_some(Colour::Brightness(brightness)),
        1 => (jitter.contrast > 0.0).then_some(Colour::Contrast(contrast)),
        2 => (jitter.saturation > 0.0).then_some(Colour::Saturation(saturation)),
        _ => (jitter.hue > 0.0).then_some(Colour::Hue(hue)),
    };
    order.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::preset::Augment;
    use super::super::steps::Step;
    use super::*;

    #[test]
    fn switching_a_step_off_changes_no_other() {
        let steps = Augment::default().recipe().views[0].steps.clone();
        let stream = Stream::new(5, "view").at(3);
        let with = draw(&steps, 256, 256, &stream);
        let without = draw(&steps.without(Step::Blur), 256, 256, &stream);
        assert_eq!(without, Drawn { blur: None, ..with });
    }

    #[test]
    fn crops_lie_inside_and_have_the_wanted_area() {
        let steps = Steps { crop: Crop { scale: (0.1, 0.5), ..Crop::default() }, ..Steps::default() };
        let mut mean = 0.0;
        for i in 0..2_000 {
            let [left, top, w, h] = draw(&steps, 100, 60, &Stream::new(1, "view").at(i)).crop;
            assert!(left + w <= 100 && top + h <= 60);
            mean += (w * h) as f64 / 6_000.0 / 2_000.0;
        }
        assert!((mean - 0.3).abs() < 0.01, "{mean}");
    }

    #[test]
    fn corners_angles_areas_and_ratios_have_the_distributions_of_torchvision() {
        let steps = Augment::default().recipe().views[0].steps.clone();
        let drawn: Vec<Drawn> = (0..4_000).map(|i| draw(&steps, 256, 200, &Stream::new(2, "view").at(i))).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let uniform = |values: Vec<f64>, low: f64, high: f64, what: &str| {
            let (mean, middle) = (mean(&values), (low + high) / 2.0);
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
            assert!(values.iter().all(|v| (low..=high).contains(v)), "{what}");
            assert!((mean - middle).abs() < 0.02 * (high - low), "{what}: {mean} beside {middle}");
            assert!((variance * 12.0 / (high - low).powi(2) - 1.0).abs() < 0.1, "{what}: variance {variance}");
        };
        let seen: Vec<[[f64; 2]; 4]> = drawn.iter().filter_map(|d| d.perspective).collect();
        assert!((seen.len() as f64 / 4_000.0 - 0.75).abs() < 0.025, "{}", seen.len());
        for (corner, [x, y]) in [[0.0, 0.0], [255.0, 0.0], [255.0, 199.0], [0.0, 199.0]].into_iter().enumerate() {
            uniform(seen.iter().map(|c| (c[corner][0] - x).abs()).collect(), 0.0, 64.0, "corners across");
            uniform(seen.iter().map(|c| (c[corner][1] - y).abs()).collect(), 0.0, 50.0, "corners down");
        }
        uniform(drawn.iter().map(|d| d.rotate.unwrap()).collect(), -180.0, 180.0, "angles");
        // Where every ratio fits, areas are uniform and logarithms of ratios too.
        let locals = Steps { crop: Crop { scale: (0.1, 0.4), ..Crop::default() }, ..Steps::default() };
        let crops: Vec<[f64; 4]> =
            (0..4_000).map(|i| draw(&locals, 256, 256, &Stream::new(2, "view").at(i)).crop.map(|v| v as f64)).collect();
        uniform(crops.iter().map(|[_, _, w, h]| (w * h / 65_536.0).clamp(0.1, 0.4)).collect(), 0.1, 0.4, "areas");
        let most = (4.0_f64 / 3.0).ln();
        uniform(crops.iter().map(|[_, _, w, h]| (w / h).ln().clamp(-most, most)).collect(), -most, most, "ratios");
    }
}

//! 3x3 convolution, stride 2, padding 1, no bias, on pixel-major maps: the stem, as patches gathered into rows and one matrix product.
//!
//! Patches of a few images at a time are gathered (im2col), in backward once more instead of being kept.
//! Share of a step (`small_12_p8`, by `flow bench dino-step`) beside its products: 0.9 %.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::matmul::{Matrix, Start, matmul};

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub inputs: usize,
    pub outputs: usize,
}

impl Conv {
    /// Returns the height and width of the output: half, rounded up.
    pub fn out(self) -> (usize, usize) {
        (self.height.div_ceil(2), self.width.div_ceil(2))
    }

    fn pixels_out(self) -> usize {
        self.out().0 * self.out().1
    }

    /// How many images are gathered at once.
    fn group(self) -> usize {
        (8192 / self.pixels_out()).clamp(1, self.batch.max(1))
    }

    fn groups(self) -> impl Iterator<Item = std::ops::Range<usize>> {
        (0..self.batch).step_by(self.group()).map(move |start| start..(start + self.group()).min(self.batch))
    }
}

/// Puts a weight (out, in, 3, 3) in the order of a gathered patch: (ky, kx, in) × out.
fn to_patch_order(conv: Conv, weight: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; weight.len()];
    for o in 0..conv.outputs {
        for i in 0..conv.inputs {
            for t in 0..9 {
                out[(t * conv.inputs + i) * conv.outputs + o] = weight[(o * conv.inputs + i) * 9 + t];
            }
        }
    }
    out
}

/// Gathers the patches of some images: one row of 9 · inputs for each output pixel.
fn gather(conv: Conv, input: &[f32], images: std::ops::Range<usize>, patches: &mut Vec<f32>) {
    let _timer = timed(Group::Patches);
    let (rows, columns) = conv.out();
    let c = conv.inputs;
    patches.resize(images.len() * conv.pixels_out() * 9 * c, 0.0);
    patches.par_chunks_mut(columns * 9 * c).enumerate().for_each(|(row, line)| {
        let (image, y) = (images.start + row / rows, row % rows);
        for (x, patch) in line.chunks_exact_mut(9 * c).enumerate() {
            // The three taps of a row lie side by side; padding of 1 cuts off the first or the last.
            let (first, end) = ((x == 0) as usize, 3.min(conv.width + 1 - 2 * x));
            for (ky, taps) in patch.chunks_exact_mut(3 * c).enumerate() {
                // What would be row -1 wraps round to a huge number, beyond the height like the one below the last.
                let sy = (2 * y + ky).wrapping_sub(1);
                if sy >= conv.height {
                    taps.fill(0.0);
                    continue;
                }
                let from = ((image * conv.height + sy) * conv.width + 2 * x + first - 1) * c;
                taps[..first * c].fill(0.0);
                taps[first * c..end * c].copy_from_slice(&input[from..from + (end - first) * c]);
                taps[end * c..].fill(0.0);
            }
        }
    });
}

/// Convolves (B, H, W, in) with a weight (out, in, 3, 3) into (B, ⌈H/2⌉, ⌈W/2⌉, out).
pub fn conv_forward(conv: Conv, input: &[f32], weight: &[f32], patches: &mut Vec<f32>, out: &mut Vec<f32>) {
    let weight = to_patch_order(conv, weight);
    let k = 9 * conv.inputs;
    out.resize(conv.batch * conv.pixels_out() * conv.outputs, 0.0);
    for images in conv.groups() {
        let rows = images.len() * conv.pixels_out();
        let first = images.start * conv.pixels_out() * conv.outputs;
        gather(conv, input, images, patches);
        let target = &mut out[first..first + rows * conv.outputs];
        matmul(Matrix::new(patches, rows, k), Matrix::new(&weight, k, conv.outputs), target, conv.outputs, Start::Nothing);
    }
}

/// Adds the gradient of the weight to `weight_grad`, and writes that of the input into `d_input` where one is wanted.
pub fn conv_backward(
    conv: Conv,
    input: &[f32],
    weight: &[f32],
    d: &[f32],
    patches: &mut Vec<f32>,
    weight_grad: &mut [f32],
    mut d_input: Option<&mut Vec<f32>>,
) {
    let weight = to_patch_order(conv, weight);
    let k = 9 * conv.inputs;
    let mut grad = vec![0.0; weight.len()];
    if let Some(dx) = d_input.as_deref_mut() {
        dx.resize(conv.batch * conv.height * conv.width * conv.inputs, 0.0);
    }
    for images in conv.groups() {
        let rows = images.len() * conv.pixels_out();
        let first = images.start * conv.pixels_out() * conv.outputs;
        let d = Matrix::new(&d[first..first + rows * conv.outputs], rows, conv.outputs);
        gather(conv, input, images.clone(), patches);
        matmul(Matrix::new(patches, rows, k).t(), d, &mut grad, conv.outputs, Start::Target);
        if let Some(dx) = d_input.as_deref_mut() {
            matmul(d, Matrix::new(&weight, k, conv.outputs).t(), patches, k, Start::Nothing);
            let size = conv.height * conv.width * conv.inputs;
            scatter(conv, patches, &mut dx[images.start * size..images.end * size]);
        }
    }
    for o in 0..conv.outputs {
        for i in 0..conv.inputs {
            for t in 0..9 {
                weight_grad[(o * conv.inputs + i) * 9 + t] += grad[(t * conv.inputs + i) * conv.outputs + o];
            }
        }
    }
}

/// Adds up gathered patches where they came from, image by image.
fn scatter(conv: Conv, patches: &[f32], d_input: &mut [f32]) {
    let _timer = timed(Group::Patches);
    let (rows, columns) = conv.out();
    let c = conv.inputs;
    let size = conv.height * conv.width * c;
    d_input.par_chunks_mut(size).zip(patches.par_chunks(rows * columns * 9 * c)).for_each(|(image, patches)| {
        image.fill(0.0);
        for (pixel, patch) in patches.chunks_exact(9 * c).enumerate() {
            let (y, x) = (pixel / columns, pixel % columns);
            for (t, tap) in patch.chunks_exact(c).enumerate() {
                let (sy, sx) = ((2 * y + t / 3).wrapping_sub(1), (2 * x + t % 3).wrapping_sub(1));
                if sy < conv.height && sx < conv.width {
                    let at = (sy * conv.width + sx) * c;
                    image[at..at + c].iter_mut().zip(tap).for_each(|(d, p)| *d += p);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_the_transpose_of_the_convolution_for_odd_sides_too() {
        let conv = Conv { batch: 3, height: 5, width: 6, inputs: 2, outputs: 4 };
        let numbers = |n: usize, k: usize| -> Vec<f32> { (0..n).map(|i| ((i * k + 3) % 17) as f32 / 8.0 - 1.0).collect() };
        let (x, w, d) = (numbers(3 * 30 * 2, 7), numbers(72, 5), numbers(3 * 9 * 4, 11));
        let (mut y, mut patches) = (Vec::new(), Vec::new());
        conv_forward(conv, &x, &w, &mut patches, &mut y);
        assert_eq!(y.len(), d.len());
        let (mut dw, mut dx) = (vec![0.0; 72], Vec::new());
        conv_backward(conv, &x, &w, &d, &mut patches, &mut dw, Some(&mut dx));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        assert!((dot(&d, &y) - dot(&dx, &x)).abs() < 1e-3);
        assert!((dot(&d, &y) - dot(&dw, &w)).abs() < 1e-3);
        // The corner pixel of the second image sees four input pixels.
        let expected: f32 = (0..2)
            .flat_map(|i| (4..9).filter(|t| ![6].contains(t)).map(move |t| (i, t)))
            .map(|(i, t)| w[i * 9 + t] * x[((5 + t / 3 - 1) * 6 + t % 3 - 1) * 2 + i])
            .sum();
        assert!((y[9 * 4] - expected).abs() < 1e-5);
    }
}

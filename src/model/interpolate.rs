//! Learnt positions at another size than the one they were learnt at: bicubic interpolation along each side, as matrices.
//!
//! Numbers as in PyTorch's `interpolate(mode="bicubic", align_corners=False)`, with and without `antialias`.

use super::vit::Interpolation;

/// Returns for a map of `rows` × `columns` tokens the matrices (rows × places) and (columns × places) that make its positions from a square
/// map of `places` on each side; none where the map is that one.
pub fn interpolation(places: usize, rows: usize, columns: usize, how: Interpolation) -> Option<[Vec<f64>; 2]> {
    let along = |to: usize| -> Vec<f64> { (0..to).flat_map(|i| weights(places, to, i, how)).collect() };
    ((rows, columns) != (places, places)).then(|| [along(rows), along(columns)])
}

/// The part of each of `from` places in place `i` of `to`.
fn weights(from: usize, to: usize, i: usize, how: Interpolation) -> Vec<f64> {
    let length = if how == Interpolation::Offset { to as f64 + 0.1 } else { to as f64 };
    let scale = from as f64 / length;
    let centre = scale * (i as f64 + 0.5);
    let mut row = vec![0.0; from];
    if how == Interpolation::Antialiased {
        let stretch = scale.max(1.0);
        let (first, last) = ((centre - 2.0 * stretch + 0.5).max(0.0) as usize, (centre + 2.0 * stretch + 0.5) as usize);
        let inside = first..last.min(from);
        inside.clone().for_each(|j| row[j] = cubic((j as f64 - centre + 0.5) / stretch, -0.5));
        let sum: f64 = row[inside].iter().sum();
        row.iter_mut().for_each(|w| *w /= sum);
    } else {
        let first = (centre - 0.5).floor();
        for j in -1..3 {
            let place = first + f64::from(j);
            // Beyond the edge lies what lies at the edge.
            row[place.clamp(0.0, from as f64 - 1.0) as usize] += cubic(place - (centre - 0.5), -0.75);
        }
    }
    row
}

/// The kernel of cubic convolution (Keys 1981) with slope `a` at 1.
fn cubic(x: f64, a: f64) -> f64 {
    match x.abs() {
        x if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_pytorch() {
        // torch 2.15, x = [0, 1, 4, 9, 16]: F.interpolate(x.view(1, 1, 1, 5), (1, n), mode="bicubic", antialias=True or False); the last by
        // scale_factor=(1, 3.1 / 5)
        let x = [0.0, 1.0, 4.0, 9.0, 16.0];
        let made =
            |to: usize, how| -> Vec<f64> { (0..to).map(|i| weights(5, to, i, how).iter().zip(x).map(|(w, x)| w * x).sum()).collect() };
        let close = |seen: Vec<f64>, expected: &[f64]| {
            assert!(seen.iter().zip(expected).all(|(s, e)| (s - e).abs() < 1e-5), "{seen:?} instead of {expected:?}");
        };
        close(made(3, Interpolation::Antialiased), &[0.169231, 4.195349, 13.338462]);
        close(made(7, Interpolation::Antialiased), &[-0.058252, 0.360111, 1.653061, 4.000000, 7.367347, 12.415512, 16.407767]);
        close(made(3, Interpolation::Plain), &[0.148148, 4.000000, 14.074074]);
        close(made(7, Interpolation::Plain), &[-0.078717, 0.265306, 1.682216, 4.000000, 7.046647, 12.463557, 16.551020]);
        close(made(3, Interpolation::Offset), &[0.139334, 3.553577, 13.190598]);
    }

    #[test]
    fn a_map_of_the_learnt_size_is_left_as_it_is_and_all_parts_add_to_one() {
        for how in [Interpolation::Antialiased, Interpolation::Plain, Interpolation::Offset] {
            assert_eq!(interpolation(5, 5, 5, how), None);
            for matrix in interpolation(5, 3, 16, how).unwrap() {
                assert!(matrix.chunks_exact(5).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
            }
        }
    }
}

//! The Fourier code of a token's place in the map: a pure function of the map's size.
//!
//! El-Nouby et al. 2021 (arXiv:2106.09681), section 3.4; numbers as in timm's `PositionalEncodingFourier`, which
//! computes in single precision whatever the network's.

use std::f64::consts::TAU;

/// Numbers in the code of one place: 32 for its row, then 32 for its column.
pub const CODE: usize = 64;

const HALF: usize = CODE / 2;
const TEMPERATURE: f64 = 10_000.0;
const EPS: f32 = 1e-6;

/// Returns the codes of all places of a map of `rows` x `columns` tokens, row after row: `rows * columns * 64` numbers.
pub fn position_code(rows: usize, columns: usize) -> Vec<f32> {
    let (by_row, by_column) = (line_code(rows), line_code(columns));
    let mut code = Vec::with_capacity(rows * columns * CODE);
    for row in &by_row {
        for column in &by_column {
            code.extend_from_slice(row);
            code.extend_from_slice(column);
        }
    }
    code
}

/// Returns the code of each place on a line of `n`: sine and cosine in turn, from the shortest wave to the longest.
fn line_code(n: usize) -> Vec<[f32; HALF]> {
    let wave: [f32; HALF] = std::array::from_fn(|k| TEMPERATURE.powf((2 * (k / 2)) as f64 / HALF as f64) as f32);
    let place = |i: usize| {
        let angle = i as f32 / (n as f32 + EPS) * TAU as f32;
        std::array::from_fn(|k| {
            // The quotient is rounded as in the original; sine and cosine then lose nothing to the platform's own.
            let phase = f64::from(angle / wave[k]);
            (if k % 2 == 0 { phase.sin() } else { phase.cos() }) as f32
        })
    };
    (1..=n).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f32, b: f64) -> bool {
        (f64::from(a) - b).abs() < 5e-7
    }

    #[test]
    fn one_place_has_the_code_that_timm_gives_it() {
        let code = position_code(1, 1);
        assert_eq!(code.len(), CODE);
        for (k, expected) in [-6.283e-6, 1.0, -0.381_758_9, -0.924_262_0].into_iter().enumerate() {
            assert!(close(code[k], expected), "{k}: {}", code[k]);
        }
        assert_eq!(code[..HALF], code[HALF..], "row and column of a square map of one place");
    }

    #[test]
    fn rows_come_before_columns_and_places_run_along_rows() {
        let code = position_code(2, 3);
        let at = |row: usize, column: usize| &code[(row * 3 + column) * CODE..][..CODE];
        assert_eq!(at(1, 0)[..HALF], at(1, 2)[..HALF]);
        assert_eq!(at(0, 1)[HALF..], at(1, 1)[HALF..]);
        assert_ne!(at(0, 0)[..HALF], at(1, 0)[..HALF]);
        // The first of two rows lies at an angle of 3.14159108.
        assert!(close(at(0, 0)[0], 3.141_591_08_f64.sin()) && close(at(0, 0)[1], 3.141_591_08_f64.cos()));
    }
}

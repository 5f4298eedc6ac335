//! A matrix turned over, in blocks of 16 x 16 that stay in registers.

#[cfg(target_arch = "x86_64")]
use super::level::{Level, level};
#[cfg(target_arch = "x86_64")]
use super::tile;

/// The side of a block.
const SIDE: usize = 16;

/// Writes the transpose: to\[j · rows + i\] = from\[i · columns + j\].
///
/// # Panics
/// When one of the slices does not hold rows · columns numbers.
pub fn transpose(from: &[f32], rows: usize, columns: usize, to: &mut [f32]) {
    assert_eq!((from.len(), to.len()), (rows * columns, rows * columns), "a matrix of {rows} x {columns}");
    let (whole_rows, whole_columns) = (rows - rows % SIDE, columns - columns % SIDE);
    for j in (0..whole_columns).step_by(SIDE) {
        for i in (0..whole_rows).step_by(SIDE) {
            block(from, (i, j), (rows, columns), to);
        }
    }
    for j in 0..columns {
        let from_row = if j < whole_columns { whole_rows } else { 0 };
        (from_row..rows).for_each(|i| to[j * rows + i] = from[i * columns + j]);
    }
}

/// Turns the block whose first row and column are these.
fn block(from: &[f32], (i, j): (usize, usize), (rows, columns): (usize, usize), to: &mut [f32]) {
    let (from, to) = (&from[i * columns + j..(i + SIDE - 1) * columns + j + SIDE], &mut to[j * rows + i..(j + SIDE - 1) * rows + i + SIDE]);
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx512 {
        // SAFETY: the instructions are there; both slices begin and end with their block.
        unsafe { tile::transpose((SIDE, SIDE), from.as_ptr(), columns, to.as_mut_ptr(), rows) };
        return;
    }
    for i in 0..SIDE {
        (0..SIDE).for_each(|j| to[j * rows + i] = from[i * columns + j]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_changes_row_and_column() {
        for (rows, columns) in [(0, 3), (1, 1), (16, 16), (17, 15), (37, 50), (48, 32)] {
            let from: Vec<f32> = (0..rows * columns).map(|v| v as f32).collect();
            let mut to = vec![-1.0; rows * columns];
            transpose(&from, rows, columns, &mut to);
            let right = (0..rows * columns).all(|v| to[v % columns * rows + v / columns] == v as f32);
            assert!(right, "{rows} x {columns}");
        }
    }
}

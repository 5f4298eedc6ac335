//! Where the pixels of a turned picture and of one in perspective come from, and maps one after the other.

/// A map of the plane: (x, y) comes from ((m0 x + m1 y + m2) / d, (m3 x + m4 y + m5) / d) with d = m6 x + m7 y + m8.
pub type Homography = [f64; 9];

/// The map that asks `second` where a place comes from, and `first` where that comes from.
pub fn after(first: &Homography, second: &Homography) -> Homography {
    std::array::from_fn(|i| (0..3).map(|k| first[i / 3 * 3 + k] * second[k * 3 + i % 3]).sum())
}

/// `Image.rotate` of Pillow (same size, about the centre): the map of its places, counter-clockwise in degrees.
pub fn rotation(width: usize, height: usize, degrees: f64) -> Homography {
    let angle = -(degrees.rem_euclid(360.0)).to_radians();
    // Rounded to 15 decimals as Pillow does, so that quarter turns are exact.
    let round = |x: f64| (x * 1e15).round() / 1e15;
    let (a, b) = (round(angle.cos()), round(angle.sin()));
    let (d, e) = (round(-angle.sin()), round(angle.cos()));
    let (cx, cy) = (width as f64 / 2.0, height as f64 / 2.0);
    [a, b, a * -cx + b * -cy + cx, d, e, d * -cx + e * -cy + cy, 0.0, 0.0, 1.0]
}

/// The first two lines of an affine map in 16-bit fixed point, from whole pixel to whole pixel (Pillow's `affine_fixed`).
pub fn in_fixed_point(map: &Homography) -> [i64; 6] {
    let [a, b, c, d, e, f, ..] = *map;
    [a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5].map(|x| (x * 65_536.0 + 0.5).floor() as i64)
}

/// torchvision's `_get_perspective_coeffs`: the map that takes the moved corners back to the picture's own.
pub fn perspective(width: usize, height: usize, to: &[[f64; 2]; 4]) -> Option<Homography> {
    let (right, bottom) = (width as f64 - 1.0, height as f64 - 1.0);
    let from = [[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]];
    let mut rows = [[0.0; 9]; 8];
    for (i, (s, e)) in from.iter().zip(to).enumerate() {
        rows[2 * i] = [e[0], e[1], 1.0, 0.0, 0.0, 0.0, -s[0] * e[0], -s[0] * e[1], s[0]];
        rows[2 * i + 1] = [0.0, 0.0, 0.0, e[0], e[1], 1.0, -s[1] * e[0], -s[1] * e[1], s[1]];
    }
    let [a, b, c, d, e, f, g, h] = solve(rows)?;
    Some([a, b, c, d, e, f, g, h, 1.0])
}

/// Solves eight linear equations by elimination with row pivots.
fn solve(mut rows: [[f64; 9]; 8]) -> Option<[f64; 8]> {
    for column in 0..8 {
        let pivot = (column..8).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
        if rows[pivot][column].abs() < 1e-12 {
            return None;
        }
        rows.swap(column, pivot);
        let pivot = rows[column];
        for (_, row) in rows.iter_mut().enumerate().filter(|(row, _)| *row != column) {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(pivot).skip(column).for_each(|(value, above)| *value -= factor * above);
        }
    }
    Some(std::array::from_fn(|i| rows[i][8] / rows[i][i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(map: &Homography, [x, y]: [f64; 2]) -> [f64; 2] {
        let line = |i: usize| map[3 * i] * x + map[3 * i + 1] * y + map[3 * i + 2];
        [line(0) / line(2), line(1) / line(2)]
    }

    #[test]
    fn moved_corners_come_from_the_picture_s_own_and_maps_follow_each_other() {
        let corners = [[10.0, 4.0], [90.0, 12.0], [80.0, 70.0], [3.0, 60.0]];
        let (seen, turned) = (perspective(100, 80, &corners).unwrap(), rotation(100, 80, 30.0));
        for (corner, own) in corners.into_iter().zip([[0.0, 0.0], [99.0, 0.0], [99.0, 79.0], [0.0, 79.0]]) {
            let found = place(&seen, corner);
            assert!((found[0] - own[0]).abs() < 1e-9 && (found[1] - own[1]).abs() < 1e-9, "{found:?}");
        }
        let (both, start) = (after(&seen, &turned), [31.0, 22.0]);
        let (found, expected) = (place(&both, start), place(&seen, place(&turned, start)));
        assert!((found[0] - expected[0]).abs() < 1e-9 && (found[1] - expected[1]).abs() < 1e-9);
        assert!(perspective(100, 80, &[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]).is_none());
    }
}

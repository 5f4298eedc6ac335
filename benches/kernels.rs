//! `cargo bench`: what the products of a training step reach, beside the `gemm` crate in the same run.
use flow::kernel::{Matrix, Start, matmul, peak_flops};
use std::time::Instant;

fn best(mut run: impl FnMut()) -> f64 {
    run();
    (0..7)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}

fn main() {
    let threads = rayon::current_num_threads();
    let peak = peak_flops(threads, std::time::Duration::from_millis(300));
    println!("peak {:.1}", peak / 1e9);
    let fill = |n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect() };
    rayon::scope(|_| {
        let mut total = [0.0; 2];
        for rows in [3136, 1440] {
            for (i, o) in [(384, 1152), (384, 384), (384, 1536), (1536, 384)] {
                let (x, w, mut y) = (fill(rows * i), fill(i * o), fill(rows * o));
                let (mut dx, mut dw) = (vec![0.0; rows * i], vec![0.0; i * o]);
                let flops = 2.0 * (rows * i * o) as f64;
                let f = best(|| matmul(Matrix::new(&x, rows, i), Matrix::new(&w, o, i).t(), &mut y, o, Start::Nothing));
                let b = best(|| matmul(Matrix::new(&y, rows, o), Matrix::new(&w, o, i), &mut dx, i, Start::Nothing));
                let g = best(|| matmul(Matrix::new(&y, rows, o).t(), Matrix::new(&x, rows, i), &mut dw, i, Start::Target));
                total[0] += flops * 3.0;
                total[1] += f + b + g;
                println!(
                    "{rows:5} {i:5}->{o:5}  forward {:6.1}  input {:6.1}  weights {:6.1}",
                    flops / f / 1e9,
                    flops / b / 1e9,
                    flops / g / 1e9
                );
            }
        }
        println!("all {:.1} = {:.1} %", total[0] / total[1] / 1e9, 100.0 * total[0] / total[1] / peak);
    });
}

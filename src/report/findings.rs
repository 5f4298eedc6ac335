//! What follows from the numbers: the first sentences of the report, and what a reader must be warned of.

use super::enough;
use super::study::{Cell, Confusion, Role, Study, SweepResults, Verdict};
use super::words::{mean_std, share};
use crate::diagnostic::count;

/// Returns the sweeps of a role, in the order given.
pub fn of_role(study: &Study, role: Role) -> impl Iterator<Item = &SweepResults> {
    study.sweeps.iter().filter(move |sweep| sweep.role == role)
}

/// Returns the methods of a sweep in their first order.
pub fn methods(sweep: &SweepResults) -> Vec<&str> {
    let mut methods: Vec<&str> = Vec::new();
    for cell in &sweep.cells {
        if !methods.contains(&cell.method.as_str()) {
            methods.push(&cell.method);
        }
    }
    methods
}

/// Returns the cells of a method by increasing n.
pub fn cells_of<'a>(sweep: &'a SweepResults, method: &str) -> Vec<&'a Cell> {
    let mut cells: Vec<&Cell> = sweep.cells.iter().filter(|cell| cell.method == method).collect();
    cells.sort_by_key(|cell| cell.per_class);
    cells
}

/// Returns all n of the sweeps, sorted.
pub fn sizes(study: &Study) -> Vec<usize> {
    let mut sizes: Vec<usize> = study.sweeps.iter().flat_map(|s| &s.cells).map(|cell| cell.per_class).collect();
    sizes.sort();
    sizes.dedup();
    sizes
}

/// The n that the headline speaks of: the wanted one, else 100, else the nearest on a logarithmic scale.
pub fn headline_size(study: &Study) -> Option<usize> {
    let wanted = study.headline_per_class.unwrap_or(100).max(1) as f64;
    let main = of_role(study, Role::Studied).next()?;
    main.cells.iter().map(|c| c.per_class).min_by(|a, b| {
        let far = |n: usize| (n.max(1) as f64 / wanted).ln().abs();
        far(*a).total_cmp(&far(*b)).then(b.cmp(a))
    })
}

/// The best cell of a sweep at n.
pub fn best_at(sweep: &SweepResults, n: usize) -> Option<&Cell> {
    sweep.cells.iter().filter(|c| c.per_class == n && c.mean.is_finite()).max_by(|a, b| a.mean.total_cmp(&b.mean))
}

/// The method that the headline speaks of: the best of the studied sweep at its n.
pub fn headline_method(study: &Study) -> Option<&str> {
    let n = headline_size(study)?;
    best_at(of_role(study, Role::Studied).next()?, n).map(|cell| cell.method.as_str())
}

/// Returns the sentences that open the report.
pub fn headline(study: &Study) -> Vec<String> {
    let Some((sweep, n)) = of_role(study, Role::Studied).next().zip(headline_size(study)) else { return Vec::new() };
    let Some(best) = best_at(sweep, n) else { return Vec::new() };
    let over = if best.repeats > 1 { format!(", mean and deviation over {}", count(best.repeats, "repeat")) } else { String::new() };
    let std = (best.repeats > 1).then_some(best.std);
    let between = |(low, high): (f64, f64)| {
        format!("; with other test images and other draws the mean would lie between {} and {} (95 %)", share(low), share(high))
    };
    let interval = best.interval.map_or(String::new(), between);
    let mut sentences = vec![format!(
        "With {} per class ({} in all), {} on {} features reaches a balanced accuracy of {}{over}{interval}.",
        count(n, "label"),
        crate::diagnostic::thousands(best.labels),
        best.method,
        sweep.name,
        mean_std(best.mean, std)
    )];
    let beside: Vec<String> = of_role(study, Role::Baseline)
        .chain(of_role(study, Role::Floor))
        .filter_map(|other| best_at(other, n).map(|cell| (other, cell)))
        .map(|(other, cell)| format!("{} {}", other.name, mean_std(cell.mean, (cell.repeats > 1).then_some(cell.std))))
        .collect();
    if !beside.is_empty() {
        sentences.push(format!("With the same labels: {}.", beside.join(", ")));
    }
    let enough = enough::sentences(study);
    // By means alone where there are no intervals.
    sentences.extend(if enough.is_empty() { labels_saved(study, sweep, best) } else { None });
    sentences.extend(enough);
    sentences
}

/// How many labels the baseline needs for what the studied features reach.
fn labels_saved(study: &Study, sweep: &SweepResults, best: &Cell) -> Option<String> {
    let baseline = of_role(study, Role::Baseline).next()?;
    let most = baseline.cells.iter().map(|c| c.per_class).max()?;
    let top = best_at(baseline, most)?;
    let enough = cells_of(sweep, &best.method).into_iter().find(|cell| cell.mean >= top.mean)?;
    (enough.per_class < most).then(|| {
        format!(
            "What {} reaches with {} per class ({}), {} on {} features reaches with {}.",
            baseline.name,
            count(most, "label"),
            share(top.mean),
            best.method,
            sweep.name,
            enough.per_class
        )
    })
}

/// Returns the warnings given and those that follow from the numbers.
pub fn warnings(study: &Study) -> Vec<String> {
    let mut warnings = study.warnings.clone();
    for curve in &study.curves {
        match &curve.verdict {
            Some(Verdict::Bad(what) | Verdict::Doubtful(what)) => warnings.push(format!("training of {}: {what}", curve.name)),
            Some(Verdict::Good(_)) | None => {}
        }
    }
    for data in &study.datasets {
        warnings.extend(granularity(data));
        let absent: Vec<&str> = data.classes.iter().filter(|c| c.test == 0).map(|c| c.class.as_str()).collect();
        if !absent.is_empty() {
            warnings.push(format!("{}: no test image of {}, which the figures therefore say nothing of", data.name, absent.join(", ")));
        }
    }
    if let (Some(main), Some(n)) = (of_role(study, Role::Studied).next(), headline_size(study))
        && let Some(best) = best_at(main, n)
    {
        for floor in of_role(study, Role::Floor) {
            // By whatever method the floor does best: what the network adds must show against that.
            if let Some(cell) = best_at(floor, n).filter(|cell| cell.mean + cell.std >= best.mean) {
                warnings.push(format!(
                    "at {} per class {} on {} features ({}) does not clearly beat {} on {} ({})",
                    count(n, "label"),
                    best.method,
                    main.name,
                    share(best.mean),
                    cell.method,
                    floor.name,
                    share(cell.mean)
                ));
            }
        }
    }
    warnings
}

/// One test image of a class moves balanced accuracy by 1 / (classes * test images of the class).
pub fn step_of(n_classes: usize, n_test: usize) -> Option<f64> {
    (n_classes > 0 && n_test > 0).then(|| 1.0 / (n_classes as f64 * n_test as f64))
}

/// Warns of classes so small that a single image moves the balanced accuracy by more than a hundredth.
fn granularity(data: &super::study::Dataset) -> Option<String> {
    let n_classes = data.classes.iter().filter(|c| c.test > 0).count();
    let mut coarse: Vec<(f64, &str, usize)> = data
        .classes
        .iter()
        .filter_map(|c| step_of(n_classes, c.test).map(|step| (step, c.class.as_str(), c.test)))
        .filter(|(step, ..)| *step > 0.01)
        .collect();
    coarse.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let (step, class, n_test) = coarse.first()?;
    let others = match coarse.len() {
        1 => String::new(),
        n => format!("; {} more above .01", count(n - 1, "class")),
    };
    Some(format!("{}: {class} has {}: each moves the balanced accuracy by {step:.3}{others}", data.name, count(*n_test, "test image")))
}

/// Returns the classes of a confusion matrix by falling number of test images; equal ones keep their order.
pub fn by_frequency(confusion: &Confusion) -> Vec<usize> {
    let support = |class: usize| confusion.counts.get(class).map_or(0, |row| row.iter().sum::<u64>());
    let mut order: Vec<usize> = (0..confusion.classes.len()).collect();
    order.sort_by_key(|class| std::cmp::Reverse(support(*class)));
    order
}

/// Returns a cell of the matrix as a share of its row; none for a class without test images.
pub fn row_share(confusion: &Confusion, truth: usize, predicted: usize) -> Option<f64> {
    let row = confusion.counts.get(truth)?;
    let total: u64 = row.iter().sum();
    (total > 0).then(|| row.get(predicted).copied().unwrap_or(0) as f64 / total as f64)
}

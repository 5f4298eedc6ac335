//! The laws of views.

use rayon::prelude::*;

use super::*;
use crate::data::{Augment, Filter, ImageRow, ImageTable, KnownFiles, Normalisation, Pack, Place, Preset};
use crate::digest::Digest;
use crate::stage::Silent;

/// Three packed grey pictures of 8 x 8 pixels.
fn set() -> (ImageTable, KnownFiles, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pixels.npy");
    let mut writer = crate::data::layout::npy::Writer::create(&path, 8, 8, 1).unwrap();
    for n in 0..3u8 {
        let pixels: Vec<u8> = (0..64).map(|i: u8| i * 3 + n * 20).collect();
        writer.push(&pixels).unwrap();
    }
    writer.finish().unwrap();
    let file = Digest::of_file(&path).unwrap();
    let row = |n: u32| ImageRow {
        id: format!("image {n}").as_str().into(),
        path: String::new(),
        file,
        place: Place::Row(n),
        width: 8,
        height: 8,
        group: None,
    };
    let images = ImageTable::new((0..3).map(row).collect()).unwrap();
    (images, KnownFiles([(file, path)].into()), folder)
}

fn recipe() -> crate::data::Recipe {
    Augment { preset: Some(Preset::Paper), base: Some(16), global: Some(12), local: Some(8), ..Augment::default() }.recipe()
}

fn all_views(views: &MultiCrop) -> Vec<Vec<f32>> {
    let jobs: Vec<(usize, u64, usize)> = (0..3).flat_map(|i| (0..2).flat_map(move |e| (0..7).map(move |v| (i, e, v)))).collect();
    let fill = |(image, epoch, view): (usize, u64, usize)| {
        let mut out = vec![0.0; views.side(view).pow(2) * 3];
        views.fill(image, epoch, view, &mut out).unwrap();
        out
    };
    jobs.into_par_iter().map(fill).collect()
}

#[test]
fn views_are_the_same_in_memory_or_decoded_for_one_thread_or_many() {
    let (images, files, _folder) = set();
    let held = MultiCrop::new(&images, &files, recipe(), 7, u64::MAX, &Silent).unwrap();
    let decoded = MultiCrop::new(&images, &files, recipe(), 7, 0, &Silent).unwrap();
    let expected = all_views(&held);
    assert_eq!(expected, all_views(&decoded));
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(expected, one.install(|| all_views(&held)));
    assert!(expected.iter().flatten().all(|v| (-1.0..=1.0).contains(v)));
}

#[test]
fn views_of_packed_pictures_are_those_of_the_pictures_and_another_size_is_refused() {
    let (images, mut files, folder) = set();
    let path = folder.path().join("pack.npy");
    let pack = Pack::make(&[images.clone(), images.clone()], &files, 16, Filter::Nearest, &path, &Silent).unwrap();
    assert_eq!(pack.from.len(), 3, "each picture once");
    let packed = pack.under(&images, 16, Filter::Nearest).unwrap();
    assert!(packed.rows().iter().zip(images.rows()).all(|(packed, row)| packed.id == row.id && packed.file == pack.pixels));
    let expected = all_views(&MultiCrop::new(&images, &files, recipe(), 7, u64::MAX, &Silent).unwrap());
    files.0.insert(pack.pixels, path);
    assert_eq!(expected, all_views(&MultiCrop::new(&packed, &files, recipe(), 7, 0, &Silent).unwrap()));
    for (side, filter) in [(12, Filter::Nearest), (16, Filter::Bilinear)] {
        assert!(pack.under(&images, side, filter).unwrap_err().message().starts_with("the pack holds pictures of side 16 by Nearest"));
    }
}

#[test]
fn a_pack_lists_the_pictures_that_cannot_be_read() {
    let (images, files, folder) = set();
    let rows = images.rows().iter().map(|row| ImageRow { file: Digest::of(b"elsewhere"), ..row.clone() }).collect();
    let lost = ImageTable::new(rows).unwrap();
    let failure = Pack::make(&[lost], &files, 16, Filter::Nearest, &folder.path().join("pack.npy"), &Silent).unwrap_err();
    assert!(failure.message().starts_with("3 pictures cannot be read:\n  image `image 0`"), "{failure}");
}

#[test]
fn what_happens_to_an_image_does_not_depend_on_the_others() {
    let (images, files, _folder) = set();
    let alone = ImageTable::new(images.rows()[2..].to_vec()).unwrap();
    let of = |images: &ImageTable, image: usize| {
        let mut out = vec![0.0; 12 * 12 * 3];
        MultiCrop::new(images, &files, recipe(), 7, u64::MAX, &Silent).unwrap().fill(image, 3, 1, &mut out).unwrap();
        out
    };
    assert_eq!(of(&images, 2), of(&alone, 0));
}

#[test]
fn seeds_epochs_and_views_differ() {
    let (images, files, _folder) = set();
    let of = |seed: u64, epoch: u64, view: usize| {
        let mut out = vec![0.0; 12 * 12 * 3];
        MultiCrop::new(&images, &files, recipe(), seed, u64::MAX, &Silent).unwrap().fill(0, epoch, view, &mut out).unwrap();
        out
    };
    let first = of(1, 0, 0);
    for other in [of(2, 0, 0), of(1, 1, 0), of(1, 0, 1)] {
        assert_ne!(first, other);
    }
}

#[test]
fn a_plain_view_is_the_picture_itself() {
    let (images, files, _folder) = set();
    let views = PlainViews::new(&images, &files, 8, Filter::Bilinear, Normalisation::MinusOneToOne, 0, &Silent).unwrap();
    let mut out = vec![0.0; 8 * 8 * 3];
    views.fill(1, 5, 0, &mut out).unwrap();
    assert_eq!(out[..4], [20, 20, 20, 23].map(|v| v as f32 / 255.0 * 2.0 - 1.0));
}

#[test]
fn room_of_the_wrong_size_and_views_that_are_not_there_are_refused() {
    let (images, files, _folder) = set();
    let views = MultiCrop::new(&images, &files, recipe(), 7, u64::MAX, &Silent).unwrap();
    assert!(views.fill(0, 0, 0, &mut [0.0; 5]).is_err());
    assert!(views.fill(3, 0, 0, &mut vec![0.0; 12 * 12 * 3]).is_err());
    assert!(views.fill(0, 0, 7, &mut []).is_err());
}

#[test]
fn a_contact_sheet_is_a_picture() {
    let (images, files, _folder) = set();
    let png = contact_sheet(&images, &files, &recipe(), 1, 2).unwrap();
    assert_eq!(crate::data::dimensions(&png).unwrap(), (8 * 100 + 4, 2 * 100 + 4));
    assert_eq!(png, contact_sheet(&images, &files, &recipe(), 1, 2).unwrap());
}

//! Files that lie, and the numbers of a window. Pictures of every kind are in `tests/pictures.rs`, beside what pydicom makes of them.

use super::{decode, frames, header};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const RLE: &str = "1.2.840.10008.1.2.5";

fn element(tag: u32, kind: &str, value: &[u8]) -> Vec<u8> {
    let mut out = [&((tag >> 16) as u16).to_le_bytes()[..], &(tag as u16).to_le_bytes(), kind.as_bytes()].concat();
    match ["OB", "OW", "SQ", "UN"].contains(&kind) {
        true => out.extend([&[0, 0], &(value.len() as u32).to_le_bytes()[..]].concat()),
        false => out.extend((value.len() as u16).to_le_bytes()),
    }
    out.extend(value);
    out
}

fn number(tag: u32, value: u16) -> Vec<u8> {
    element(tag, "US", &value.to_le_bytes())
}

/// A file of this transfer syntax with these elements.
fn file(syntax: &str, elements: &[Vec<u8>]) -> Vec<u8> {
    [&[0; 128][..], b"DICM", &element(0x0002_0010, "UI", syntax.as_bytes()), &elements.concat()].concat()
}

/// The elements of a grey picture.
fn grey(width: u16, height: u16, bits: u16) -> Vec<Vec<u8>> {
    vec![
        number(0x0028_0002, 1),
        element(0x0028_0004, "CS", b"MONOCHROME2 "),
        number(0x0028_0010, height),
        number(0x0028_0011, width),
        number(0x0028_0100, bits),
    ]
}

fn with(mut elements: Vec<Vec<u8>>, more: &[Vec<u8>]) -> Vec<Vec<u8>> {
    elements.extend_from_slice(more);
    elements
}

fn said(bytes: &[u8]) -> String {
    decode(bytes, 0).unwrap_err().message().to_string()
}

#[test]
fn a_length_that_the_file_does_not_have_takes_no_memory() {
    let mut lie = element(0x0028_1201, "OW", &[1, 2]);
    lie[8..12].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    let text = said(&file(EXPLICIT, &[lie]));
    assert!(text.starts_with("the DICOM file ends at byte ") && text.ends_with("4294967278 before its time"), "{text}");

    let pixels = element(0x7fe0_0010, "OB", &[0; 6]);
    let large = file(EXPLICIT, &with(grey(16_000, 16_000, 16), std::slice::from_ref(&pixels)));
    assert_eq!(said(&large), "the pixels end too soon: 6 bytes, frame 1 needs 512,000,000");
    let larger = file(EXPLICIT, &with(grey(60_000, 60_000, 8), &[pixels]));
    assert_eq!(said(&larger), "the picture is 60000 x 60000: expected 1 to 268,435,456 pixels");
}

#[test]
fn run_lengths_that_cannot_fill_the_picture_are_refused_before_there_is_one() {
    let coded = [&1u32.to_le_bytes()[..], &64u32.to_le_bytes(), &[0; 56], &[0x81, 7]].concat();
    let item = |bytes: &[u8]| [&[0xfe, 0xff, 0x00, 0xe0], &(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    let end = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];
    let mut pixels = element(0x7fe0_0010, "OB", &[]);
    pixels[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    pixels.extend([item(&[]), item(&coded), end.to_vec()].concat());
    let of = |side| file(RLE, &with(grey(side, side, 8), std::slice::from_ref(&pixels)));
    assert_eq!(said(&of(16_000)), "the run-length coded frame ends too soon");
    assert_eq!(said(&of(12)), "the run-length coded frame ends too soon");
    assert_eq!(decode(&of(11), 0).unwrap().pixels(), [7; 363]);
}

#[test]
fn frames_that_are_only_said_to_be_there_are_not_believed() {
    let pixels = element(0x7fe0_0010, "OB", &[0; 8]);
    let of = |n: &[u8]| file(EXPLICIT, &with(grey(2, 2, 8), &[element(0x0028_0008, "IS", n), pixels.clone()]));
    assert_eq!((header(&of(b"2 ")).unwrap().frames, frames(&of(b"2 ")).unwrap()), (2, 2));
    assert_eq!(frames(&of(b"99999999")).unwrap_err().message(), "the DICOM file says it has 99,999,999 frames, and holds 2");
    assert_eq!(frames(&of(b"-1")).unwrap_err().message(), "`NumberOfFrames` is `-1`: expected a whole number above 0");
}

#[test]
fn sequences_are_passed_over_and_endless_ones_end() {
    let open = |tag: u32| {
        let mut head = element(tag, "SQ", &[]);
        head[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        head
    };
    let item = [0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff];
    let nested = [open(0x0008_2218), item.to_vec()].concat();
    assert_eq!(said(&file(EXPLICIT, &[nested.repeat(40)])), "the DICOM file nests sequences more than 64 deep");
    assert!(said(&file(EXPLICIT, &[nested.repeat(3)])).contains("before its time"));
    let (end_of_item, end) = ([0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0], [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    let closed = [&nested[..], &number(0x0028_0010, 9), &end_of_item, &end].concat();
    let whole = file(EXPLICIT, &with([vec![closed], grey(2, 1, 8)].concat(), &[element(0x7fe0_0010, "OB", &[3, 9])]));
    assert_eq!(decode(&whole, 0).unwrap().pixels(), [3, 3, 3, 9, 9, 9]);
}

#[test]
fn a_window_shows_what_the_standard_says() {
    let values = [0i16, 96, 100, 128, 160, 4000];
    let pixels = element(0x7fe0_0010, "OW", &values.map(i16::to_le_bytes).concat());
    let levels = |more: &[Vec<u8>]| {
        let elements = with(with(grey(6, 1, 16), more), std::slice::from_ref(&pixels));
        let picture = decode(&file(EXPLICIT, &elements), 0).unwrap();
        picture.pixels().chunks(3).map(|p| p[0]).collect::<Vec<u8>>()
    };
    let text = |tag, value: &str| element(tag, "DS", format!("{value:8}").as_bytes());
    // PS3.3 C.11.2.1.2.1: from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2.
    let window = [text(0x0028_1050, "128.5\\9"), text(0x0028_1051, "65\\9")];
    assert_eq!(levels(&window), [0, 0, 16, 128, 255, 255]);
    // Rescaled by 2 x - 128 first, 96 and 160 are 64 and 192.
    let rescaled = [&window[..], &[text(0x0028_1052, "-128"), text(0x0028_1053, "2")]].concat();
    assert_eq!(levels(&rescaled), [0, 0, 0, 128, 255, 255]);
    // Without a window: from the least to the greatest.
    assert_eq!(levels(&[]), [0, 6, 6, 8, 10, 255]);
    // What stands for no value has no say in that.
    assert_eq!(levels(&[number(0x0028_0120, 4000)]), [0, 153, 159, 204, 255, 255]);
    let no_width = file(EXPLICIT, &with(grey(6, 1, 16), &[text(0x0028_1050, "1"), text(0x0028_1051, "0"), pixels.clone()]));
    assert_eq!(said(&no_width), "`WindowWidth` is 0: expected more than 0");
}

#[test]
fn what_is_not_read_is_named() {
    let of = |syntax: &str, elements: &[Vec<u8>]| said(&file(syntax, elements));
    assert_eq!(of("1.2.840.10008.1.2.4.90", &[]), "the DICOM file is compressed as JPEG 2000, which is not read here");
    assert_eq!(of("1.2.3", &[]), "the DICOM file has the transfer syntax `1.2.3`, which is not known");
    assert_eq!(of(EXPLICIT, &grey(1, 1, 8)), "the DICOM file holds no pixels");
    let pixels = element(0x7fe0_0010, "OB", &[0; 6]);
    assert_eq!(
        of(EXPLICIT, &with(grey(1, 1, 32), std::slice::from_ref(&pixels))),
        "the DICOM file has samples of 32 bits: expected 8 or 16"
    );
    assert_eq!(of(EXPLICIT, &[number(0x0028_0010, 1), pixels]), "the DICOM file has no `Columns`");
}

use std::io::Write as _;

use image::{Rgb, RgbImage, Rgba};

use super::*;

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Red on the left, blue on the right.
fn two_colours(width: u32, height: u32) -> DynamicImage {
    let colour = |x| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) };
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |x, _| colour(x)))
}

fn read(square: &Square) -> DynamicImage {
    image::load_from_memory(&square.bytes).unwrap()
}

#[test]
fn every_format_becomes_squares_of_all_sizes() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP] {
        let squares = squares(&encoded(&two_colours(600, 300), format)).unwrap();
        assert_eq!(squares.iter().map(|square| square.side).collect::<Vec<_>>(), SIDES);
        for square in &squares {
            let image = read(square);
            assert_eq!((image.dimensions(), square.content_type), ((square.side, square.side), "image/jpeg"));
            let (left, right) = (image.get_pixel(4, 4), image.get_pixel(square.side - 5, 4));
            assert!(left.0[0] > 200 && left.0[2] < 60, "{format:?}: {left:?}");
            assert!(right.0[2] > 200 && right.0[0] < 60, "{format:?}: {right:?}");
        }
    }
}

#[test]
fn what_shines_through_stays_so() {
    let clear = DynamicImage::ImageRgba8(RgbaImage::from_pixel(10, 10, Rgba([0, 255, 0, 128])));
    for square in squares(&encoded(&clear, ImageFormat::Png)).unwrap() {
        assert_eq!(square.content_type, "image/png");
        assert_eq!(read(&square).get_pixel(1, 1).0, [0, 255, 0, 128]);
    }
}

/// A JPEG with an EXIF block behind its start: orientation 6 (turn right), and a text where a camera puts its place.
fn with_exif(jpeg: &[u8]) -> Vec<u8> {
    let mut tiff = b"MM\0\x2a\0\0\0\x08".to_vec();
    tiff.extend(b"\0\x02");
    tiff.extend(b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0");
    tiff.extend(b"\x01\x0e\0\x02\0\0\0\x20\0\0\0\x26");
    tiff.extend(b"\0\0\0\0");
    tiff.extend(b"GPS 51.4778 N 0.0014 W canary-exif");
    let mut out = jpeg[..2].to_vec();
    out.extend(b"\xff\xe1");
    out.extend(u16::try_from(tiff.len() + 8).unwrap().to_be_bytes());
    out.extend(b"Exif\0\0");
    out.extend(tiff);
    out.extend(&jpeg[2..]);
    out
}

#[test]
fn exif_turns_the_picture_and_is_gone() {
    let bytes = with_exif(&encoded(&two_colours(400, 400), ImageFormat::Jpeg));
    for square in squares(&bytes).unwrap() {
        let found = square.bytes.windows(11).any(|window| window == b"canary-exif");
        assert!(!found && !square.bytes.windows(4).any(|window| window == b"Exif"));
        let image = read(&square);
        // Turned right: what was left is above.
        let (above, below) = (image.get_pixel(square.side - 5, 4), image.get_pixel(4, square.side - 5));
        assert!(above.0[0] > 200 && below.0[2] > 200, "{above:?} {below:?}");
    }
}

fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut body = kind.to_vec();
    body.extend(data);
    let mut crc = u32::MAX;
    for byte in &body {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], &body, &(!crc).to_be_bytes()].concat()
}

fn png(width: u32, height: u32, depth: u8) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, 6, 0, 0, 0]].concat();
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(*b"IHDR", &header), &chunk(*b"IDAT", b"\x78\x9c\x03\0"), &chunk(*b"IEND", b"")]
        .concat()
}

fn gif(width: u16, height: u16, frames: usize) -> Vec<u8> {
    let (w, h) = (width.to_le_bytes(), height.to_le_bytes());
    let mut bytes = [&b"GIF89a"[..], &w, &h, &[0x80, 0, 0], &[255, 0, 0, 0, 0, 255]].concat();
    for _ in 0..frames {
        bytes.extend(
            [&[0x2c, 0, 0, 0, 0][..], &1_u16.to_le_bytes(), &1_u16.to_le_bytes(), &[0, 2, 2, 0x44, 1, 0]].concat(),
        );
    }
    bytes.push(0x3b);
    bytes
}

/// A lossless WebP of 16383 × 16383, the most that the format has, in 30 bytes.
fn webp() -> Vec<u8> {
    let mut data = vec![0x2f];
    data.extend((0x3fff_u32 | (0x3fff << 14)).to_le_bytes());
    data.extend([0; 5]);
    let chunk = [&b"VP8L"[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), &data].concat();
    let size = u32::try_from(chunk.len() + 4).unwrap();
    [&b"RIFF"[..], &size.to_le_bytes(), b"WEBP", &chunk].concat()
}

/// The most memory that this process ever had, in KiB.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn attack_24_image_bombs_are_refused_from_the_header() {
    for (name, bomb) in [
        ("png", png(65_535, 65_535, 8)),
        ("wide png", png(60_000, 1, 8)),
        ("deep png", png(4_000, 4_000, 16)),
        ("square png", png(8_000, 8_000, 8)),
        ("gif", gif(65_535, 65_535, 1)),
    ] {
        let result = squares(&bomb).map(|squares| squares.len());
        assert!(matches!(result, Err(ImageError::TooLarge { .. })), "{name}: {result:?}");
    }
    assert!(squares(&webp()).is_err());
    // Of ten thousand frames one is looked at.
    assert_eq!(squares(&gif(1, 1, 10_000)).unwrap().len(), SIDES.len());
    for (name, other) in [
        ("psd", b"8BPS\0\x01\0\0\0\0\0\0\0\x03\0\0\x10\0\0\0\x10\0\0\x08\0\x03".to_vec()),
        ("svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>".to_vec()),
        ("html", b"<!doctype html><script>alert(1)</script>".to_vec()),
        ("pdf", b"%PDF-1.7".to_vec()),
        ("bmp", b"BM\x9a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(squares(&other).map(|squares| squares.len()), Err(ImageError::UnknownFormat), "{name}");
    }
}

#[test]
fn attack_24_truncated_pictures_are_refused() {
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let whole = encoded(&two_colours(300, 300), format);
        for length in [8, 20, 40, whole.len() / 2] {
            let result = squares(&whole[..length]).map(|squares| squares.len());
            assert!(result.is_err(), "{format:?} cut to {length}");
        }
    }
    // Flipped bits may give another picture, but never an end of the process.
    let whole = encoded(&two_colours(16, 16), ImageFormat::Jpeg);
    for place in (0..whole.len()).step_by(23) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x55;
        let _ = squares(&damaged);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn attack_24_the_largest_picture_takes_less_than_64_mib() {
    let bytes = {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        let header = [&4_000_u32.to_be_bytes()[..], &3_000_u32.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
        bytes.extend(chunk(*b"IHDR", &header));
        let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        for row in 0..3_000_u32 {
            deflate.write_all(&[0]).unwrap();
            deflate.write_all(&row.to_be_bytes().repeat(4_000)).unwrap();
        }
        bytes.extend(chunk(*b"IDAT", &deflate.finish().unwrap()));
        bytes.extend(chunk(*b"IEND", b""));
        bytes
    };
    let before = peak();
    assert_eq!(squares(&bytes).unwrap().len(), SIDES.len());
    let grown = peak().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB");
}

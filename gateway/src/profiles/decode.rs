//! From any bytes to square pictures, or a reason why not. Runs on blocking threads.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GenericImageView as _, ImageDecoder as _, ImageFormat, ImageReader, Limits, RgbaImage};

/// In pixels. Clients pick the next larger one.
pub const SIDES: [u32; 3] = [64, 192, 512];

/// Of an upload. What a picture takes when decoded is bounded by [`MAX_DECODED_BYTES`] as well.
const MAX_SIDE: u32 = 8192;
/// 12 megapixels with four bytes each, as from a phone; with the copies below the whole stays under 64 MiB.
const MAX_DECODED_BYTES: u64 = 48 * 1024 * 1024;
/// Large pictures are first brought down to this with a filter that needs no memory.
const WORKING_SIDE: u32 = 1024;
const JPEG_QUALITY: u8 = 85;

/// What is wrong with an upload.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("This is no JPEG, PNG, GIF or WebP picture. Send one of those.")]
    UnknownFormat,
    #[error(
        "The picture has {width} × {height} pixels, which is too much. Send at most 12 megapixels, 8192 on a side."
    )]
    TooLarge { width: u32, height: u32 },
    #[error("The picture is damaged. Save it again and send that.")]
    Damaged,
}

/// One size, ready to be served.
pub struct Square {
    pub side: u32,
    pub content_type: &'static str,
    pub bytes: Vec<u8>,
}

/// All sizes. Nothing is decoded before its header was held against the limits. Of an animation the first frame is taken.
pub fn squares(bytes: &[u8]) -> Result<Vec<Square>, ImageError> {
    let square = decode(bytes)?;
    let opaque = square.pixels().all(|pixel| pixel.0[3] == u8::MAX);
    SIDES.iter().map(|&side| encode(&square, side, opaque)).collect()
}

fn decode(bytes: &[u8]) -> Result<RgbaImage, ImageError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| ImageError::Damaged)?;
    let format = reader.format().ok_or(ImageError::UnknownFormat)?;
    if ![ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP].contains(&format) {
        return Err(ImageError::UnknownFormat);
    }
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| refusal(&error))?;
    let (width, height) = decoder.dimensions();
    if width > MAX_SIDE || height > MAX_SIDE || decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(ImageError::TooLarge { width, height });
    }
    if width == 0 || height == 0 {
        return Err(ImageError::Damaged);
    }
    let orientation = decoder.orientation().map_err(|_| ImageError::Damaged)?;
    let image = DynamicImage::from_decoder(decoder).map_err(|error| refusal(&error))?;
    let mut square = DynamicImage::ImageRgba8(center(&image));
    drop(image);
    // The middle stays the middle, however it is turned, and the small one is cheaper to turn.
    square.apply_orientation(orientation);
    Ok(square.into_rgba8())
}

fn refusal(error: &image::ImageError) -> ImageError {
    match error {
        image::ImageError::Limits(_) => ImageError::TooLarge { width: MAX_SIDE, height: MAX_SIDE },
        image::ImageError::Unsupported(_) => ImageError::UnknownFormat,
        _ => ImageError::Damaged,
    }
}

/// The largest square in the middle, at most [`WORKING_SIDE`] wide.
fn center(image: &DynamicImage) -> RgbaImage {
    let (width, height) = image.dimensions();
    let side = width.min(height);
    let view = imageops::crop_imm(image, (width - side) / 2, (height - side) / 2, side, side);
    if side > WORKING_SIDE { imageops::thumbnail(&*view, WORKING_SIDE, WORKING_SIDE) } else { view.to_image() }
}

/// JPEG, or PNG where something shines through.
fn encode(square: &RgbaImage, side: u32, opaque: bool) -> Result<Square, ImageError> {
    let resized = imageops::resize(square, side, side, FilterType::CatmullRom);
    let mut bytes = Vec::new();
    let (encoded, content_type) = if opaque {
        let rgb = DynamicImage::ImageRgba8(resized).into_rgb8();
        (rgb.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)), "image/jpeg")
    } else {
        (resized.write_with_encoder(PngEncoder::new(&mut bytes)), "image/png")
    };
    encoded.map_err(|_| ImageError::Damaged)?;
    Ok(Square { side, content_type, bytes })
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;

//! Values on the command line that have a form of their own: sizes and devices.

use crate::kernel::Level;
use crate::stage::Device;

/// Reads `500`, `500K`, `500M`, `20G`, `1T`: powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let power = ["", "K", "M", "G", "T"].iter().position(|known| unit.eq_ignore_ascii_case(known));
    let bytes = digits.parse::<u64>().ok().zip(power).and_then(|(n, power)| n.checked_mul(1 << (10 * power)));
    bytes.ok_or_else(|| format!("expected a size such as 500M or 20G, found `{text}`"))
}

/// Reads `auto`, `cpu`, `cuda`, `cuda:1`, `metal`.
pub(super) fn device(text: &str) -> Result<Device, String> {
    let gpu = |device: Device, built: bool, feature: &str| match built {
        true => Ok(device),
        false => Err(format!("this flow was built without `{feature}`: build it with `--features {feature}`")),
    };
    match text.split_once(':').unwrap_or((text, "0")) {
        ("auto", _) if cfg!(feature = "cuda") => Ok(Device::Cuda(0)),
        ("auto", _) if cfg!(feature = "metal") => Ok(Device::Metal),
        ("auto" | "cpu", _) => Ok(Device::Cpu),
        ("cuda", ordinal) => {
            let ordinal = ordinal.parse().map_err(|_| format!("expected `cuda:N`, found `{text}`"))?;
            gpu(Device::Cuda(ordinal), cfg!(feature = "cuda"), "cuda")
        }
        ("metal", _) => gpu(Device::Metal, cfg!(feature = "metal"), "metal"),
        _ => Err(format!("expected `auto`, `cpu`, `cuda:N` or `metal`, found `{text}`")),
    }
}

/// Reads `amx`, `avx512`. Below these, libraries that make products choose for themselves.
pub(super) fn level(text: &str) -> Result<Level, String> {
    match text {
        "amx" => Ok(Level::Amx),
        "avx512" => Ok(Level::Avx512),
        _ => Err(format!("expected `amx` or `avx512`, found `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!([size("7"), size("2K"), size("1g")], [Ok(7), Ok(2048), Ok(1 << 30)]);
        assert!(size("2Q").is_err() && size("").is_err() && size("99999999999T").is_err());
    }

    #[test]
    fn devices_are_read_by_name() {
        assert_eq!(device("cpu"), Ok(Device::Cpu));
        assert!(device("tpu").unwrap_err().contains("expected `auto`, `cpu`, `cuda:N` or `metal`"));
    }
}

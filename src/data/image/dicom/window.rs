//! From stored values to grey levels: rescaling, then the window (PS3.3 C.11.1 and C.11.2).

use super::attributes::Attributes;
use super::elements::Elements;
use crate::diagnostic::Failure;

/// How values around a centre become 0 to 1 (PS3.3 C.11.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

/// The values that are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    centre: f64,
    width: f64,
    function: Function,
}

impl Window {
    fn at(self, x: f64) -> f64 {
        let Self { centre, width, function } = self;
        match function {
            Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (x - centre) / width).exp()),
            Function::LinearExact => ((x - centre) / width + 0.5).clamp(0.0, 1.0),
            // A width of 1 is a threshold.
            Function::Linear if width <= 1.0 => f64::from(u8::from(x > centre - 0.5)),
            Function::Linear => ((x - (centre - 0.5)) / (width - 1.0) + 0.5).clamp(0.0, 1.0),
        }
    }
}

/// Rescaling and window of a file.
#[derive(Clone, Debug)]
pub struct Levels {
    slope: f64,
    intercept: f64,
    /// The first that the file names.
    window: Option<Window>,
    /// What stands for "no value here".
    padding: Option<u16>,
}

impl Levels {
    /// Reads what the file says of grey values.
    ///
    /// # Errors
    /// When numbers are none, a window has no width, or values go through a table of their own.
    pub fn of(elements: &Elements) -> Result<Self, Failure> {
        let slope = elements.decimal(0x0028_1053, "RescaleSlope")?.unwrap_or(1.0);
        let intercept = elements.decimal(0x0028_1052, "RescaleIntercept")?.unwrap_or(0.0);
        let pair = (elements.decimal(0x0028_1050, "WindowCenter")?, elements.decimal(0x0028_1051, "WindowWidth")?);
        let function = match elements.text(0x0028_1056).as_deref() {
            Some("SIGMOID") => Function::Sigmoid,
            Some("LINEAR_EXACT") => Function::LinearExact,
            _ => Function::Linear,
        };
        let window = match pair {
            (Some(_), Some(width)) if width <= 0.0 => {
                return Err(Failure::new(format!("`WindowWidth` is {width}: expected more than 0")));
            }
            (Some(centre), Some(width)) => Some(Window { centre, width, function }),
            _ => None,
        };
        Ok(Self { slope, intercept, window, padding: elements.number(0x0028_0120) })
    }

    /// Returns the grey level of each of the values that `bits_allocated` bits can have, as they lie in the file.
    ///
    /// Without a window, 8 bits are shown as they are, and more are stretched between the least and the greatest value of the frame.
    pub fn table(&self, form: &Attributes, white_is_least: bool, samples: impl Iterator<Item = u16>) -> Vec<u8> {
        let value = |raw: u16| self.slope * f64::from(stored(form, raw)) + self.intercept;
        let window = self.window.or_else(|| (form.bits_stored > 8 || form.signed).then(|| self.whole_range(samples, value)));
        let most = f64::from((1u32 << form.bits_stored) - 1);
        let level = |raw: u16| {
            let shown = match window {
                Some(window) => window.at(value(raw)),
                None => f64::from(stored(form, raw)) / most,
            };
            let level = (255.0 * shown).round() as u8;
            if white_is_least { 255 - level } else { level }
        };
        (0..1u32 << form.bits_allocated).map(|raw| level(raw as u16)).collect()
    }

    fn whole_range(&self, samples: impl Iterator<Item = u16>, value: impl Fn(u16) -> f64) -> Window {
        let shown = samples.filter(|raw| Some(*raw) != self.padding).map(value);
        let (least, most) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), v| (least.min(v), most.max(v)));
        let width = if most > least { most - least } else { 1.0 };
        Window { centre: least.min(most) + width / 2.0, width, function: Function::LinearExact }
    }
}

/// Returns the value within its bits, with its sign.
fn stored(form: &Attributes, raw: u16) -> i32 {
    let low = form.high_bit + 1 - form.bits_stored;
    let bits = (u32::from(raw) >> low) & ((1 << form.bits_stored) - 1);
    match form.signed && bits >> (form.bits_stored - 1) == 1 {
        true => bits as i32 - (1 << form.bits_stored),
        false => bits as i32,
    }
}

//! Quantities: `100m`, `1.5Gi`, `2e3`.
//!
//! Exact: an integer times a power of ten. Read and printed as upstream does,
//! its oddities included, because what is stored is what was printed.

use std::{cmp::Ordering, fmt, str::FromStr};

/// Why a text is no quantity. The texts are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It has another form.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// Its number cannot be read. Also for more than 38 significant digits,
    /// where upstream goes on and we do not.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// Its suffix is none.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The family of suffixes that a quantity prints with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    DecimalSi,
}

/// An exact decimal amount. Equality and order are those of the amounts.
#[derive(Debug, Clone)]
pub struct Quantity {
    // The amount is `digits * 10^scale`.
    digits: i128,
    scale: i64,
    family: Family,
    // The text it was read from, where upstream prints that again.
    text: Option<Box<str>>,
}

const NANO: i64 = -9;
const DECIMAL: [(&str, i64); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

// A quantity's text in parts.
struct Parts<'a> {
    negative: bool,
    // Without leading zeros; "0" when nothing else is there.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
    // Not one digit stands there: `.`
    bare: bool,
}

enum Suffix {
    Decimal(i64, Family),
    Binary(u32),
}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self { digits: 0, scale: 0, family: Family::DecimalSi, text: None };

    /// A whole amount.
    pub const fn new(value: i64, family: Family) -> Self {
        Self { digits: value as i128, scale: 0, family, text: None }
    }

    /// Thousandths.
    pub const fn milli(value: i64) -> Self {
        Self { digits: value as i128, scale: -3, family: Family::DecimalSi, text: None }
    }

    /// Reads a quantity. Amounts below a billionth are rounded up to one;
    /// binary ones are capped at 2^63-1.
    ///
    /// # Errors
    /// See [`QuantityError`].
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let parts = split(text)?;
        let suffix = suffix(parts.suffix)?;
        match fast(text, &parts, &suffix) {
            Some(quantity) => Ok(quantity),
            None => slow(&parts, &suffix),
        }
    }

    /// The family that it prints with.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.digits == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.digits.signum() as i32
    }

    /// The amount as a whole number, rounded away from zero, at most what an
    /// `i64` holds.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// The amount in thousandths, rounded and bounded likewise.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// The amount in units of `10^scale`, rounded and bounded likewise.
    pub fn scaled_value(&self, scale: i64) -> i64 {
        let shift = self.scale.saturating_sub(scale);
        let value = if shift < 0 { round_up(self.digits, -shift).0 } else { grown(self.digits, shift) };
        i64::try_from(value).unwrap_or(if value > 0 { i64::MAX } else { i64::MIN })
    }

    /// The amount as a float, for comparisons that need not be exact.
    pub fn approximate(&self) -> f64 {
        let power = i32::try_from(self.scale).unwrap_or(i32::MAX);
        self.digits as f64 * 10f64.powi(power)
    }

    /// Rounds away from zero to units of `10^scale`. Whether it was exact.
    pub fn round_up(&mut self, scale: i64) -> bool {
        if self.scale >= scale {
            return true;
        }
        let (digits, exact) = round_up(self.digits, scale - self.scale);
        (self.digits, self.scale, self.text) = (digits, scale, None);
        exact
    }

    /// The sum. Zero takes the other's family.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let family = if self.is_zero() { other.family } else { self.family };
        let (a, b, scale) = aligned(self, other);
        Self { digits: a.saturating_add(b), scale, family, text: None }
    }

    /// The difference. Zero takes the other's family.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.plus(&other.negated())
    }

    /// The amount with the other sign.
    #[must_use]
    pub fn negated(&self) -> Self {
        Self { digits: self.digits.saturating_neg(), scale: self.scale, family: self.family, text: None }
    }

    fn canonical(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits == 0 {
            return f.write_str("0");
        }
        if self.family == Family::BinarySi
            && let Some((digits, suffix)) = self.binary()
        {
            return write!(f, "{digits}{suffix}");
        }
        let (mut digits, mut scale) = stripped(self.digits, self.scale);
        while scale % 3 != 0 {
            match digits.checked_mul(10) {
                Some(more) => (digits, scale) = (more, scale - 1),
                None => break,
            }
        }
        if self.family == Family::DecimalExponent {
            return if scale == 0 { write!(f, "{digits}") } else { write!(f, "{digits}e{scale}") };
        }
        // Upstream prints no suffix where it has none.
        let suffix = DECIMAL.iter().find(|it| it.1 == scale).map_or("", |it| it.0);
        write!(f, "{digits}{suffix}")
    }

    // Whole amounts of 1024 and more print with a binary suffix.
    fn binary(&self) -> Option<(i128, &'static str)> {
        let mut digits = if self.scale >= 0 {
            let power = 10i128.checked_pow(u32::try_from(self.scale).ok()?)?;
            self.digits.checked_mul(power)?
        } else {
            let (digits, exact) = round_up(self.digits, -self.scale);
            if !exact {
                return None;
            }
            digits
        };
        if digits.abs() < 1024 {
            return None;
        }
        let mut times = 0;
        while digits % 1024 == 0 {
            digits /= 1024;
            times += 1;
        }
        let suffix = BINARY.iter().find(|it| it.1 == times * 10).map_or("", |it| it.0);
        Some((digits, suffix))
    }
}

// Upstream's scanner: what it accepts is a little more than its expression.
fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let rest = unsigned.trim_start_matches('0');
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = rest.bytes().take_while(|c| b"eEinumkKMGTP".contains(c)).count();
    let tail = rest.get(letters..).unwrap_or_default();
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if !tail.bytes().all(|c| c.is_ascii_digit()) {
        return Err(QuantityError::Format);
    }
    let bare = unsigned.starts_with('.') && fraction.is_empty();
    Ok(Parts { negative, whole: if whole.is_empty() { "0" } else { whole }, fraction, suffix: rest, bare })
}

fn suffix(text: &str) -> Result<Suffix, QuantityError> {
    if let Some((_, scale)) = DECIMAL.iter().find(|it| it.0 == text) {
        return Ok(Suffix::Decimal(*scale, Family::DecimalSi));
    }
    if let Some((_, power)) = BINARY.iter().find(|it| it.0 == text) {
        return Ok(Suffix::Binary(*power));
    }
    let exponent = text.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let exponent: i64 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
    // Upstream keeps the low 32 bits.
    Ok(Suffix::Decimal(i64::from(exponent as i32), Family::DecimalExponent))
}

// Amounts that fit into an i64 with no rounding. Only these are printed as they
// were read, where that is (nearly) canonical.
fn fast(text: &str, parts: &Parts<'_>, suffix: &Suffix) -> Option<Quantity> {
    let length = i64::try_from(parts.whole.len() + parts.fraction.len()).ok()?;
    let (scale, factor, family) = match *suffix {
        Suffix::Decimal(scale, family) => {
            (length <= 18).then_some(())?;
            (scale - i64::try_from(parts.fraction.len()).ok()?, 1i64, family)
        }
        Suffix::Binary(power) => {
            let room = 15 - i64::try_from(parts.whole.len()).ok()? - i64::from(power * 3 / 10) - 1;
            (room >= 0 && parts.fraction.is_empty()).then_some(())?;
            (0, 1i64 << power, Family::BinarySi)
        }
    };
    (scale >= NANO).then_some(())?;
    let shifted = [parts.whole, parts.fraction].concat();
    let written: i64 = shifted.parse().ok()?;
    let amount = i128::from(written.checked_mul(factor)?);
    let kept = match family {
        Family::BinarySi => written & 7 != 0,
        _ => scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0'),
    };
    let digits = if parts.negative { -amount } else { amount };
    Some(Quantity { digits, scale, family, text: kept.then(|| text.into()) })
}

fn slow(parts: &Parts<'_>, suffix: &Suffix) -> Result<Quantity, QuantityError> {
    if parts.bare {
        return Err(QuantityError::Numeric);
    }
    let written = [parts.whole, parts.fraction].concat();
    let significant = written.trim_end_matches('0');
    let shift = (written.len() - significant.len()) as i64 - parts.fraction.len() as i64;
    let mut digits = if significant.is_empty() {
        0
    } else {
        significant.parse::<i128>().map_err(|_| QuantityError::Numeric)?
    };
    let (mut scale, mut family) = match *suffix {
        Suffix::Decimal(scale, family) => (scale + shift, family),
        Suffix::Binary(power) => {
            digits = digits.checked_mul(1 << power).ok_or(QuantityError::Numeric)?;
            (shift, Family::BinarySi)
        }
    };
    if scale < NANO {
        digits = round_up(digits, NANO - scale).0;
        scale = NANO;
    }
    if family == Family::BinarySi {
        let most = Quantity::new(i64::MAX, family);
        let amount = Quantity { digits, scale, family, text: None };
        if amount > most {
            (digits, scale) = (most.digits, 0);
        } else if digits > 0 && amount < Quantity::new(1, family) {
            family = Family::DecimalSi;
        }
    }
    Ok(Quantity { digits: if parts.negative { -digits } else { digits }, scale, family, text: None })
}

// Divides by `10^places`, away from zero. Whether that was exact.
fn round_up(digits: i128, places: i64) -> (i128, bool) {
    let power = u32::try_from(places).ok().and_then(|places| 10i128.checked_pow(places));
    let (quotient, rest) = match power {
        Some(power) => (digits / power, digits % power),
        None => (0, digits),
    };
    (quotient + rest.signum(), rest == 0)
}

// Multiplies by `10^places`, as far as an i128 goes.
fn grown(digits: i128, places: i64) -> i128 {
    if digits == 0 {
        return 0;
    }
    let power = u32::try_from(places).ok().and_then(|places| 10i128.checked_pow(places));
    let most = if digits > 0 { i128::MAX } else { i128::MIN };
    power.and_then(|power| digits.checked_mul(power)).unwrap_or(most)
}

fn stripped(mut digits: i128, mut scale: i64) -> (i128, i64) {
    while digits != 0 && digits % 10 == 0 {
        (digits, scale) = (digits / 10, scale + 1);
    }
    (digits, scale)
}

// Both amounts in the unit of the finer one.
fn aligned(a: &Quantity, b: &Quantity) -> (i128, i128, i64) {
    let scale = match (a.is_zero(), b.is_zero()) {
        (true, _) => b.scale,
        (_, true) => a.scale,
        _ => a.scale.min(b.scale),
    };
    (grown(a.digits, a.scale.saturating_sub(scale)), grown(b.digits, b.scale.saturating_sub(scale)), scale)
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.sign().cmp(&other.sign());
        if signs != Ordering::Equal || self.is_zero() {
            return signs;
        }
        // Of equal sign and not zero: the place of the first digit decides,
        // and where that is the same the scales are near.
        let place = |it: &Self| it.scale + i64::from(it.digits.unsigned_abs().ilog10());
        let sizes = place(self).cmp(&place(other));
        if sizes != Ordering::Equal {
            return if self.sign() > 0 { sizes } else { sizes.reverse() };
        }
        let ((a, a_scale), (b, b_scale)) =
            (stripped(self.digits, self.scale), stripped(other.digits, other.scale));
        let scale = a_scale.min(b_scale);
        grown(a, a_scale - scale).cmp(&grown(b, b_scale - scale))
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl Default for Quantity {
    fn default() -> Self {
        Self::ZERO
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => self.canonical(f),
        }
    }
}

#[cfg(test)]
mod tests;

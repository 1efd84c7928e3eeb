//! Numbers as Go's `strconv.ParseFloat` takes them, which is what clients are tested against.

/// Digits that a `u64` and an `f64` hold exactly.
const DIGITS_EXACT: usize = 15;
/// Powers of ten that an `f64` holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// A number: decimal, with exponent, hexadecimal with exponent, `nan`, `inf` or `infinity` in any case,
/// underscores between digits. Too large for 64 bits is an error, as is any space.
#[inline]
pub fn float(text: &[u8]) -> Option<f64> {
    short(text).or_else(|| long(text))
}

/// What clients send nearly always: few digits, perhaps a point. Exact, because both parts are.
#[inline]
fn short(text: &[u8]) -> Option<f64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() > DIGITS_EXACT {
        return None;
    }
    let mut number = 0u64;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            number = number * 10 + u64::from(digit);
        } else if *byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    // A point alone is no number.
    if digits.len() == usize::from(point.is_some()) {
        return None;
    }
    let value = match point {
        None => number as f64,
        Some(at) => number as f64 / POWERS[digits.len() - at - 1],
    };
    Some(if is_negative { -value } else { value })
}

#[inline(never)]
fn long(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let hexadecimal = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X"));
    let value = match hexadecimal {
        Some(digits) => {
            let value = hex(&without_underscores(digits, true)?)?;
            if text.starts_with('-') { -value } else { value }
        }
        None if unsigned.eq_ignore_ascii_case("nan") && unsigned.len() < text.len() => return None,
        None if unsigned.contains('_') => without_underscores(text, false)?.parse().ok()?,
        None => text.parse::<f64>().ok()?,
    };
    let says_infinite = unsigned.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("inf"));
    (value.is_finite() || value.is_nan() || says_infinite).then_some(value)
}

/// Underscores stand between digits, or behind the prefix of a hexadecimal number.
fn without_underscores(text: &str, prefixed: bool) -> Option<String> {
    let is_digit =
        |byte: Option<&u8>| byte.is_some_and(|b| if prefixed { b.is_ascii_hexdigit() } else { b.is_ascii_digit() });
    let bytes = text.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'_') {
        let before = (at == 0 && prefixed) || (at > 0 && is_digit(bytes.get(at - 1)));
        if !before || !is_digit(bytes.get(at + 1)) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

/// `1.8p3`, without its prefix. The exponent is not optional.
fn hex(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent = power(exponent)?;
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    // Sixteen digits fill 64 bits. What stands behind them only shifts, and the lowest bit keeps that it was not zero.
    let mut number = 0u64;
    let mut shift = 0i64;
    for (at, digit) in whole.chars().chain(part.chars()).enumerate() {
        let digit = u64::from(digit.to_digit(16)?);
        let behind_point = at >= whole.len();
        match number >> 60 {
            0 => {
                number = number << 4 | digit;
                shift -= if behind_point { 4 } else { 0 };
            }
            _ => {
                number |= u64::from(digit > 0);
                shift += if behind_point { 0 } else { 4 };
            }
        }
    }
    Some(scaled(number, exponent.saturating_add(shift)))
}

/// A power of two; what is beyond all numbers is as good as the largest.
fn power(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let power = digits.parse().unwrap_or(i64::MAX);
    Some(if text.starts_with('-') { -power } else { power })
}

/// `number` times a power of two, rounded once, to even where two are as near.
fn scaled(number: u64, power: i64) -> f64 {
    /// Bits of a number, and the power of the lowest one of the smallest numbers.
    const BITS: i64 = 53;
    const POWER_MIN: i64 = -1074;
    let bits = i64::from(u64::BITS - number.leading_zeros());
    // So many of the lowest bits are rounded away; what is left is exact.
    let below = (bits - BITS).max(POWER_MIN.saturating_sub(power)).clamp(0, 127);
    let whole = u128::from(number);
    let (kept, half) = (whole >> below, (1u128 << below) >> 1);
    let rest = whole - (kept << below);
    let rounds_up = rest > half || (rest == half && half > 0 && kept & 1 == 1);
    let kept = (kept + u128::from(rounds_up)) as f64;
    let power = power.saturating_add(below).clamp(-2_000, 2_000) as i32;
    // In two steps, because the smallest numbers are below what one power can say.
    let half = power / 2;
    kept * 2f64.powi(half) * 2f64.powi(power - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Go 1.26 says.
    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let good = [
            ("1_000", 1000.0),
            ("1_23.50_0_0e+1_2", 1.235e14),
            ("0x1p-2", 0.25),
            ("0x1_0p0", 16.0),
            ("0x_1p0", 1.0),
            ("0_1", 1.0),
            ("1e-400", 0.0),
            ("+.5", 0.5),
            ("5.", 5.0),
            ("-.5", -0.5),
            ("+Inf", f64::INFINITY),
            ("infinity", f64::INFINITY),
            ("-INF", f64::NEG_INFINITY),
            ("123456789012345678901234567890", 123456789012345678901234567890.0),
            ("-0x1.8p1", -3.0),
            ("0x1.000000000000080000000001p0", 1.000_000_000_000_000_2),
            ("0x1.00000000000008p0", 1.0),
            ("0x10000000000000800.8p0", 18_446_744_073_709_556_000.0),
            ("-0X14028.10f90f8b2803a1e800fdp-12", -20.009_781_811_612_537),
            ("0x1p-99999999999999999999", 0.0),
            ("0x0p99999999999999999999", 0.0),
            ("0x8000000000000401p-1080", f64::from_bits(0x0060_0000_0000_0001)),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", 5e-324),
            ("0x3p-1075", 1e-323),
            ("0x1.fffffffffffffp-1023", 2.225_073_858_507_201_4e-308),
            ("0xf.ffffffffffffp-1026", 2.225_073_858_507_201e-308),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0.1", 0.1),
            ("123.456", 123.456),
            ("4503599627370497.5", 4503599627370497.5),
        ];
        for (text, value) in good {
            assert_eq!(float(text.as_bytes()), Some(value), "{text}");
        }
        assert!(float(b"NaN").is_some_and(f64::is_nan));
        let bad = [
            "",
            ".",
            "-",
            "+",
            "-.",
            "0x1.8",
            "0x10",
            "1e400",
            "-1e400",
            "+nan",
            "1e",
            "0b1",
            "1__0",
            "_1",
            "1_",
            " 5",
            "5 ",
            "1.2.3",
            "abc",
            "12a",
            "0xp1",
            "e5",
            "0x1p",
            "0x1p-",
            "0x1p1024",
            "0x1p99999999999999999999",
            "0x1.fffffffffffff8p1023",
            "--1",
            "+-1",
            "infinit",
            "1_.5",
        ];
        for text in bad {
            assert_eq!(float(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn short_numbers_are_exact() {
        for n in 0..200_000u64 {
            let text = format!("{}.{:03}", n / 1000, n % 1000);
            assert_eq!(float(text.as_bytes()), Some(text.parse().unwrap()), "{text}");
        }
    }
}

use super::*;

// What Go's resource.ParseQuantity(text).String() gave for each.
#[test]
fn reads_and_prints_as_upstream() {
    let table = [
        (
            "",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("0", "0"),
        ("1", "1"),
        ("+5", "+5"),
        ("05", "05"),
        ("00", "0"),
        ("-5", "-5"),
        ("0.5", "500m"),
        ("1.5", "1500m"),
        ("1.500", "1.500"),
        ("1.0", "1"),
        ("0.000", "0"),
        (".5", "500m"),
        ("5.", "5."),
        (".", "0"),
        (".Pi", "error: unable to parse numeric part of quantity"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1500m", "1500m"),
        ("1.1", "1100m"),
        ("0.0000000001", "1n"),
        ("1.123456789123", "1123456790n"),
        ("12.345k", "12.345k"),
        ("1000m", "1"),
        ("100m", "100m"),
        ("1Ki", "1Ki"),
        ("+1Ki", "+1Ki"),
        ("05Ki", "05Ki"),
        ("1024Ki", "1Mi"),
        ("1025Ki", "1025Ki"),
        ("8Ki", "8Ki"),
        ("2048", "2048"),
        ("0.5Gi", "512Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.1Ki", "102400m"),
        ("0.5Ki", "512"),
        ("1000.000Mi", "1000Mi"),
        ("12Ei", "9223372036854775807"),
        ("5Ei", "5Ei"),
        ("1E", "1E"),
        ("12E", "12E"),
        ("1000E", "1"),
        ("1e3", "1e3"),
        ("1E3", "1E3"),
        ("1e10", "10e9"),
        ("1e-10", "1e-9"),
        ("1e+2", "100"),
        ("1e0", "1e0"),
        ("1e4294967299", "1e4294967299"),
        ("123456789012345678901", "123456789012345678901"),
        ("9223372036854775808", "9223372036854775808"),
        ("-0.5n", "-1n"),
        ("-1Pi", "-1Pi"),
        ("m", "0"),
        ("-", "0"),
        ("+", "0"),
        ("--1", "error: unable to parse quantity's suffix"),
        (
            "1.2.3",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "1e3e3",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("1e99999999999999999999", "error: unable to parse quantity's suffix"),
        (
            "abc",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("1K", "error: unable to parse quantity's suffix"),
        ("1ki", "error: unable to parse quantity's suffix"),
        ("1mm", "error: unable to parse quantity's suffix"),
        ("1Mi-", "error: unable to parse quantity's suffix"),
        ("1m+", "error: unable to parse quantity's suffix"),
    ];
    for (text, expected) in table {
        let shown = match Quantity::parse(text) {
            Ok(quantity) => quantity.to_string(),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(shown, expected, "{text}");
    }
}

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).expect(text)
}

#[test]
fn bounds_its_work_and_its_digits() {
    let digits = "7".repeat(39);
    assert_eq!(Quantity::parse(&digits), Err(QuantityError::Numeric));
    assert_eq!(Quantity::parse(&format!("1.{digits}")), Err(QuantityError::Numeric));
    let zeros = "0".repeat(100_000);
    assert_eq!(quantity(&format!("0.{zeros}1")).to_string(), "1n");
    assert_eq!(quantity("1e2147483647").value(), i64::MAX);
    assert_eq!(quantity("-1e2147483647").milli_value(), i64::MIN);
}

#[test]
fn gives_values() {
    for (text, value, milli) in [
        ("0", 0, 0),
        ("100m", 1, 100),
        ("1500m", 2, 1500),
        ("-1500m", -2, -1500),
        ("1n", 1, 1),
        ("1Ki", 1024, 1_024_000),
        ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
        ("2E", 2_000_000_000_000_000_000, i64::MAX),
        ("20E", i64::MAX, i64::MAX),
    ] {
        assert_eq!((quantity(text).value(), quantity(text).milli_value()), (value, milli), "{text}");
    }
}

#[test]
fn computes() {
    for (a, b, sum, difference) in [
        ("1", "500m", "1500m", "500m"),
        ("1Gi", "512Mi", "1536Mi", "512Mi"),
        ("1Gi", "1G", "2073741824", "73741824"),
        ("0", "1Gi", "1Gi", "-1Gi"),
        ("1Gi", "1Gi", "2Gi", "0"),
        ("1Ki", "1m", "1024001m", "1023999m"),
        ("1e3", "1", "1001", "999"),
        ("-1", "2", "1", "-3"),
    ] {
        assert_eq!(quantity(a).plus(&quantity(b)).to_string(), sum, "{a} + {b}");
        assert_eq!(quantity(a).minus(&quantity(b)).to_string(), difference, "{a} - {b}");
    }
    let mut cpu = quantity("1.0001");
    assert!(!cpu.round_up(-3));
    assert_eq!(cpu.to_string(), "1001m");
    let mut exact = quantity("1.500");
    assert!(exact.round_up(-3));
    assert_eq!(exact.to_string(), "1.500");
    assert_eq!(quantity("5m").negated().sign(), -1);
}

#[test]
fn compares() {
    let ascending = [
        "-1e2147483647",
        "-2",
        "-1",
        "-1n",
        "0",
        "1n",
        "999m",
        "1",
        "1001m",
        "1k",
        "1Ki",
        "1E",
        "1e30",
        "1e2147483647",
    ];
    for (at, a) in ascending.iter().enumerate() {
        for (other, b) in ascending.iter().enumerate() {
            assert_eq!(quantity(a).cmp(&quantity(b)), at.cmp(&other), "{a} {b}");
        }
    }
    for (a, b) in [("1", "1000m"), ("1Gi", "1073741824"), ("0", "0Ki"), ("1e3", "1k")] {
        assert_eq!(quantity(a), quantity(b));
    }
}

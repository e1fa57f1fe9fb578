use expect_test::expect;

use super::*;

static TOTAL: Desc =
    Desc { name: "a_total", help: "[STABLE] All of\nit.", kind: Kind::Counter, labels: &["verb", "code"] };
static DEPTH: Desc = Desc { name: "depth", help: "How deep.", kind: Kind::Gauge, labels: &[] };
static SECONDS: Desc = Desc {
    name: "b_seconds",
    help: "How long.",
    kind: Kind::Histogram(&[0.005, 1.0, 1e6]),
    labels: &["verb"],
};

fn filled() -> Registry {
    let registry = Registry::default();
    let total = registry.family::<Counter>(&TOTAL);
    total.with(&["GET", "200"]).inc();
    total.with(&["GET", "200"]).add(2);
    total.with(&["LIST", "a\"\\\n"]).inc();
    registry.family::<Gauge>(&DEPTH).with(&[]).set(1_234_567.0);
    let seconds = registry.family::<Histogram>(&SECONDS).with(&["GET"]);
    [0.005, 0.5, 2.0, 3e6].into_iter().for_each(|it| seconds.observe(it));
    registry.add(Arc::new(|out: &mut Vec<Gathered>| {
        out.push(Gathered { desc: &TOTAL, samples: vec![Sample::number(&["GET", "100"], 7.0)] });
    }));
    // Another part of the process counts the same.
    registry.family::<Counter>(&TOTAL).with(&["LIST", "a\"\\\n"]).inc();
    registry
}

#[test]
fn text_is_as_go_writes_it() {
    let expected = expect![[r#"
        # HELP a_total [STABLE] All of\nit.
        # TYPE a_total counter
        a_total{code="100",verb="GET"} 7
        a_total{code="200",verb="GET"} 3
        a_total{code="a\"\\\n",verb="LIST"} 2
        # HELP b_seconds How long.
        # TYPE b_seconds histogram
        b_seconds_bucket{verb="GET",le="0.005"} 1
        b_seconds_bucket{verb="GET",le="1"} 2
        b_seconds_bucket{verb="GET",le="1e+06"} 3
        b_seconds_bucket{verb="GET",le="+Inf"} 4
        b_seconds_sum{verb="GET"} 3.000002505e+06
        b_seconds_count{verb="GET"} 4
        # HELP depth How deep.
        # TYPE depth gauge
        depth 1.234567e+06
    "#]];
    expected.assert_eq(&write_text(&filled().gather()));
}

#[test]
fn numbers_are_as_go_prints_them() {
    for (value, text) in [
        (0.0, "0"),
        (1e5, "100000"),
        (1e6, "1e+06"),
        (323584.0, "323584"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1e21, "1e+21"),
        (-2.5, "-2.5"),
        (f64::INFINITY, "+Inf"),
    ] {
        assert_eq!(text::number(value), text);
    }
}

#[test]
fn protobuf_has_the_same() {
    let bytes = write_protobuf(&filled().gather());
    // The first message: its length, its name.
    assert_eq!(&bytes[2..11], b"\x0a\x07a_total");
    // A zero is written: the fields are of proto2.
    let depth = Desc { name: "z", help: "", kind: Kind::Gauge, labels: &[] };
    let depth: &'static Desc = Box::leak(Box::new(depth));
    let zero = Gathered { desc: depth, samples: vec![Sample::number(&[], 0.0)] };
    let expected = [&[20, 10, 1, b'z', 18, 0, 24, 1, 34, 11, 18, 9, 9][..], &[0; 8]].concat();
    assert_eq!(write_protobuf(&[zero]), expected);
}

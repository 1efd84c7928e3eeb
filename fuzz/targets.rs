//! What is done with bytes from outside, and what has to hold whatever they are. `fuzz/run.sh` looks
//! for bytes that break it; `tests/fuzz.rs` replays `fuzz/corpus` in every test run.

use std::collections::BTreeMap;

use weir_sources::ebpf::meter::Meter;
use weir_sources::ebpf::recording::{self, Step as FlowStep};
use weir_sources::packet::{self, Packet};
use weir_sources::pcap::reader::{Reader, Step};
use weir_spec::Type;

/// A target by its name, which is its folder in `corpus`.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("capture", capture),
    ("frame", frame),
    ("row", row),
    ("statsd", statsd),
    ("frames", frames),
    ("flows", flows),
    ("syntax", syntax),
    ("pipeline", pipeline),
    ("style", style),
];

/// A capture file: every step makes progress or asks for more than is there, and the same packets are
/// found whether it comes whole or in pieces.
pub fn capture(data: &[u8]) {
    let whole = packets(data, data.len().max(1));
    for piece in [1, 7, 61] {
        assert_eq!(whole, packets(data, piece), "in pieces of {piece}");
    }
}

/// A recording of flows: every step makes progress or asks for more than is there, and whatever the events
/// are, a conversation does not end before it begins.
pub fn flows(data: &[u8]) {
    let mut meter = Meter::new();
    let mut flows = Vec::new();
    let mut rest = data;
    loop {
        let used = match recording::step(rest) {
            FlowStep::Need(bytes) => {
                assert!(bytes > rest.len(), "it asks for what it has");
                break;
            }
            FlowStep::Broken => break,
            FlowStep::Bad { used } => used,
            FlowStep::Event { used, event } => {
                meter.take(event, &mut flows);
                used
            }
        };
        assert!(used > 0 && used <= rest.len(), "no progress");
        rest = &rest[used..];
    }
    for flow in flows {
        assert!(flow.start <= flow.end, "{flow:?}");
        for side in [flow.sent, flow.received] {
            let counts = [side.packets, side.payload_bytes];
            assert!(counts.iter().all(|count| *count >= 0), "{side:?}");
        }
    }
}

/// Time, interface, captured bytes and length on the wire.
type Found = (i64, usize, Vec<u8>, u32);

/// Each packet, and how many the capture says it lost.
fn packets(data: &[u8], piece: usize) -> (Vec<Found>, u64) {
    let mut reader = Reader::default();
    let (mut found, mut lost) = (Vec::new(), 0u64);
    let (mut start, mut end) = (0, piece.min(data.len()));
    loop {
        let used = match reader.step(&data[start..end]) {
            Step::Need(bytes) => {
                assert!(bytes > end - start, "it asks for what it has");
                if end == data.len() {
                    return (found, lost);
                }
                end = (end + piece).min(data.len());
                continue;
            }
            Step::Broken { .. } => return (found, lost),
            Step::Skip { used } | Step::Bad { used, .. } => used,
            Step::Lost { used, packets } => {
                lost = lost.saturating_add(packets);
                used
            }
            Step::Packet { used, packet } => {
                assert!(packet.interface < reader.interfaces.len(), "a packet from an interface nobody described");
                let _ = packet::parse(reader.interfaces[packet.interface].link, packet.data, packet.wire_bytes);
                found.push((packet.time, packet.interface, packet.data.to_vec(), packet.wire_bytes));
                used
            }
        };
        assert!(used > 0 && used <= end - start, "a step of {used} bytes in {}", end - start);
        start += used;
    }
}

/// A frame behind two bytes of link type: payload fits in its packet, and the packet in what the link
/// carried or what its header says.
pub fn frame(data: &[u8]) {
    let [high, low, frame @ ..] = data else { return };
    let link = u16::from_be_bytes([*high, *low]);
    for wire in [frame.len() as u32, frame.len() as u32 * 2 + 9, 0, u32::MAX] {
        let Ok(packet) = packet::parse(link, frame, wire) else { continue };
        let Packet { ip_bytes, payload_bytes, vlan_count, .. } = packet;
        assert!(payload_bytes <= ip_bytes, "{payload_bytes} bytes of payload in {ip_bytes}");
        assert!(usize::from(vlan_count) <= packet::VLANS_MAX);
    }
}

/// A line of JSON as a row of every type of column.
pub fn row(data: &[u8]) {
    let Ok(object) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let types = [Type::INT, Type::FLOAT, Type::Str, Type::Bool, Type::Time, Type::DURATION, Type::Ip, Type::Cidr];
    for ty in types {
        let _ = weir_sources::json::cell(Some(&object), &ty);
        let _ = weir_sources::json::cell(weir_sources::json::find(&object, "a.b"), &ty);
    }
}

/// A connection's bytes behind a byte of room: however they are cut, the frames are the same, none is longer than
/// there is room for, and what is given and held is what came.
pub fn frames(data: &[u8]) {
    use weir_sources::dogstatsd::frames::{Frames, HEAD_BYTES};
    let [bytes_max, data @ ..] = data else { return };
    let bytes_max = usize::from(*bytes_max);
    let read = |piece: usize| {
        let (mut frames, mut given) = (Frames::default(), Vec::new());
        let mut taken = Ok(());
        for piece in data.chunks(piece) {
            taken = taken.and_then(|()| frames.take(piece, bytes_max, |frame| given.push(frame.to_vec())));
        }
        (given, taken, frames.is_inside())
    };
    let whole = read(data.len().max(1));
    assert!([1, 3, 7, 64].iter().all(|piece| read(*piece) == whole), "in pieces");
    let (given, taken, is_inside) = whole;
    assert!(given.iter().all(|frame| frame.len() <= bytes_max));
    let given: usize = given.iter().map(|frame| HEAD_BYTES + frame.len()).sum();
    assert!(given <= data.len() && (taken.is_err() || is_inside == (given < data.len())), "what is left");
}

/// A datagram: every line is a message or a refused one, the columns hold together, and nothing depends
/// on whether its lines came in one datagram or in many.
pub fn statsd(data: &[u8]) {
    use std::sync::LazyLock;

    use weir_core::Time;
    use weir_sources::dogstatsd::about::Sender;
    use weir_sources::dogstatsd::decode::{Decoder, Dialect, Payload, Rules};
    use weir_sources::dogstatsd::mapper::Mapping;
    use weir_spec::kinds::{check::CHECK, event::EVENT, metric::METRIC};
    static MAPPINGS: LazyLock<Vec<Mapping>> = LazyLock::new(|| {
        let mappings = ["*.*.c -> $1 {was:$2}", "/([a-c]+)(.*)/ -> ${1} {host:$2,$1}"];
        mappings.iter().filter_map(|mapping| Mapping::parse(mapping).ok()).collect()
    });
    let (sender, peer) = (Sender::default(), String::new);
    for dialect in [Dialect::Dogstatsd, Dialect::Etsy] {
        let mappings = MAPPINGS.clone();
        let rules = Rules { dialect, tags: vec!["always:1".into()], eol_required: false, timestamps: true, mappings };
        let read = |decoder: &mut Decoder, payloads: &mut dyn Iterator<Item = &[u8]>, is_truncated: bool| {
            for bytes in payloads {
                decoder.payload(&Payload { bytes, is_truncated, sender: &sender, peer: &peer }, Time(1));
            }
            let (metrics, events) =
                (decoder.metrics.finish(&METRIC.schema()).0, decoder.events.finish(&EVENT.schema()).0);
            let (checks, _) = decoder.checks.finish(&CHECK.schema());
            let rejected = std::mem::take(&mut decoder.rejected).len();
            let (lines, truncated) = (std::mem::take(&mut decoder.lines), std::mem::take(&mut decoder.truncated));
            let rows = metrics.len() + events.len() + checks.len() + rejected;
            if dialect == Dialect::Dogstatsd {
                assert_eq!(rows + truncated, lines as usize, "lines and messages");
            }
            (metrics.into_plain(), events.into_plain(), checks.into_plain(), rejected)
        };
        let (mut decoder, mut other) = (Decoder::new(rules.clone(), 1 << 20), Decoder::new(rules.clone(), 0));
        let whole = read(&mut decoder, &mut std::iter::once(data), false);
        assert!(whole == read(&mut decoder, &mut std::iter::once(data), false), "what is known");
        let lines = &mut data.split_inclusive(|b| *b == b'\n');
        assert!(whole == read(&mut other, lines, false), "in datagrams of one line");
        read(&mut decoder, &mut std::iter::once(data), true);
    }
}

/// Any bytes as a text: every byte is in one token, the tokens are in order, and the tree has its spans
/// in the text. Without the checks behind it, so that ten million inputs are a matter of minutes.
pub fn syntax(data: &[u8]) {
    let Ok(source) = weir_dsl::text::decode(data) else { return };
    let mut end = 0;
    for token in weir_dsl::lex::lex(source) {
        assert_eq!(token.span.start, end, "a gap between tokens");
        assert!(token.span.end > end, "an empty token");
        end = token.span.end;
    }
    assert_eq!(end, source.len(), "text behind the last token");
    let (file, diagnostics) = weir_dsl::parse::parse(source, &|_| true);
    for diagnostic in &diagnostics {
        let span = diagnostic.span();
        assert!(span.start <= span.end && span.end <= source.len(), "{span:?} of {}", source.len());
        assert!(source.is_char_boundary(span.start) && source.is_char_boundary(span.end), "{span:?}");
    }
    let _ = weir_dsl::tree::print(&file);
}

/// A pipeline: checked without a panic; every span lies in the text, between characters, in file order;
/// what has no error has a plan that can be divided into memory or said to be too small.
pub fn pipeline(data: &[u8]) {
    let params = BTreeMap::new();
    let setting = weir_dsl::Setting::alone("my.weir", &weir::components::SPECS, &params);
    let checked = weir_dsl::check(data, &setting);
    let text = String::from_utf8_lossy(data);
    let whole = std::str::from_utf8(data).is_ok();
    let mut last = 0;
    for diagnostic in &checked.diagnostics {
        let span = diagnostic.span();
        assert!(span.start >= last, "not in file order");
        last = span.start;
        assert!(span.start <= span.end && span.end <= data.len(), "{span:?} of {}", data.len());
        assert!(!whole || (text.is_char_boundary(span.start) && text.is_char_boundary(span.end)), "{span:?}");
        let _ = weir_dsl::render::human(&checked.sources, diagnostic, false);
    }
    if let Some(plan) = checked.plan {
        let _ = plan.divide();
    }
}

/// A text in the one style stays as it is, and says what it said: the same tokens but for commas at the
/// end of lists, the same comments, and, without mistakes of syntax, the same tree.
pub fn style(data: &[u8]) {
    use weir_dsl::lex::{Kind, lex};
    let Ok(source) = weir_dsl::text::decode(data) else { return };
    let once = weir_dsl::fmt::format(source);
    assert_eq!(weir_dsl::fmt::format(&once), once, "formatted again it is another text");
    let words = |text: &str, comments: bool| -> Vec<String> {
        let wanted = |t: &weir_dsl::lex::Token| match t.kind {
            Kind::Comment | Kind::ForeignComment => comments,
            Kind::Space => false,
            _ => !comments && t.text(text) != ",",
        };
        lex(text).iter().filter(|t| wanted(t)).map(|t| t.text(text).trim_end().to_string()).collect()
    };
    assert_eq!(words(source, false), words(&once, false), "tokens");
    assert_eq!(words(source, true), words(&once, true), "comments");
    let tree = |text: &str| {
        let (file, diagnostics) = weir_dsl::parse::parse(text, &|_| true);
        diagnostics.is_empty().then(|| weir_dsl::tree::print(&file))
    };
    if let Some(before) = tree(source) {
        assert_eq!(Some(before), tree(&once), "another meaning");
    }
}

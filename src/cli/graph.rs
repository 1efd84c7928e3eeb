//! `weir graph`: the checked graph as a picture.

use std::fmt::Write;

use clap::{Args, ValueEnum};
use unicode_width::UnicodeWidthStr;
use weir_spec::Plan;
use weir_spec::plan::Node;

use super::{Format, FormatArgs, WRONG, pipeline, say};

pub const EXAMPLES: &str = "\
Examples:
  weir graph my.weir                         in the terminal
  weir graph my.weir --format svg > my.svg
  weir graph my.weir --format mermaid        for Markdown";

#[derive(Args)]
pub struct GraphArgs {
    /// The pipeline's file; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "expression")]
    file: Option<std::path::PathBuf>,
    /// The pipeline itself, as text
    #[arg(short = 'e', long = "expression", value_name = "PIPELINE", conflicts_with = "file")]
    expression: Option<String>,
    /// How the picture is drawn
    #[arg(long, value_enum, default_value = "text")]
    format: Picture,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Picture {
    Text,
    Mermaid,
    Dot,
    Svg,
}

pub fn run(args: &GraphArgs) -> u8 {
    let format = FormatArgs { format: Format::Human, deny_warnings: false };
    let source = super::PipelineArgs {
        file: args.file.clone(),
        expression: args.expression.clone(),
        params: Vec::new(),
        format,
    };
    let Some((text, checked)) = pipeline::load(&source) else { return WRONG };
    let Some(plan) = checked.plan.filter(|plan| !plan.nodes.is_empty()) else {
        anstream::eprintln!("error: `{}` has nothing to draw: no pipe ends in a sink", text.name);
        return WRONG;
    };
    say(&draw(&plan, args.format))
}

pub fn draw(plan: &Plan, picture: Picture) -> String {
    match picture {
        Picture::Text => text(plan),
        Picture::Mermaid => mermaid(plan),
        Picture::Dot => dot(plan),
        Picture::Svg => svg(plan),
    }
}

/// An edge: from, the output's name, the kind of its rows, and to.
fn edges(plan: &Plan) -> Vec<(usize, String, String, usize)> {
    let edge = |(to, node): (usize, &Node)| {
        let from = node.inputs.iter().map(move |port| {
            let output = &plan.nodes[port.node].outputs[port.output];
            (port.node, output.name.clone(), output.stream.row.name().to_string(), to)
        });
        from.collect::<Vec<_>>()
    };
    plan.nodes.iter().enumerate().flat_map(edge).collect()
}

fn title(node: &Node) -> String {
    if node.name == node.spec.name { node.name.clone() } else { format!("{} ({})", node.name, node.spec.name) }
}

/// A tree from each source; what several read is drawn once and named again.
fn text(plan: &Plan) -> String {
    let edges = edges(plan);
    let mut out = String::new();
    let mut seen = vec![false; plan.nodes.len()];
    for at in (0..plan.nodes.len()).filter(|at| plan.nodes[*at].inputs.is_empty()) {
        branch(plan, &edges, at, "", "", &mut seen, &mut out);
    }
    out
}

fn branch(
    plan: &Plan,
    edges: &[(usize, String, String, usize)],
    at: usize,
    lead: &str,
    indent: &str,
    seen: &mut [bool],
    out: &mut String,
) {
    let again = std::mem::replace(&mut seen[at], true);
    // Writing into memory cannot fail.
    let _ = writeln!(out, "{lead}{}{}", title(&plan.nodes[at]), if again { " …" } else { "" });
    if again {
        return;
    }
    let below: Vec<_> = edges.iter().filter(|(from, ..)| *from == at).collect();
    for (n, (_, output, kind, to)) in below.iter().enumerate() {
        let last = n + 1 == below.len();
        let dot = if output.is_empty() { String::new() } else { format!(".{output} ") };
        let lead = format!("{indent}{} {dot}{kind} → ", if last { "└─" } else { "├─" });
        let indent = format!("{indent}{}", if last { "   " } else { "│  " });
        branch(plan, edges, *to, &lead, &indent, seen, out);
    }
}

fn mermaid(plan: &Plan) -> String {
    let mut out = "flowchart LR\n".to_string();
    for (at, node) in plan.nodes.iter().enumerate() {
        let name = title(node).replace('"', "'");
        let shape = match (node.spec.is_source(), node.spec.is_sink()) {
            (true, _) => format!("([\"{name}\"])"),
            (_, true) => format!("[[\"{name}\"]]"),
            _ => format!("[\"{name}\"]"),
        };
        let _ = writeln!(out, "  n{at}{shape}");
    }
    for (from, output, kind, to) in edges(plan) {
        let _ = writeln!(out, "  n{from} -->|{}| n{to}", label(&output, &kind));
    }
    out
}

fn label(output: &str, kind: &str) -> String {
    if output.is_empty() { kind.to_string() } else { format!(".{output} {kind}") }
}

fn dot(plan: &Plan) -> String {
    let quoted = |text: String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = "digraph weir {\n  rankdir=LR\n  node [shape=box]\n".to_string();
    for (at, node) in plan.nodes.iter().enumerate() {
        let _ = writeln!(out, "  n{at} [label={}]", quoted(title(node)));
    }
    for (from, output, kind, to) in edges(plan) {
        let _ = writeln!(out, "  n{from} -> n{to} [label={}]", quoted(label(&output, &kind)));
    }
    out + "}\n"
}

const CHAR_WIDTH: usize = 8;
const BOX_HEIGHT: usize = 32;
const GAP_ACROSS: usize = 90;
const GAP_DOWN: usize = 24;
const MARGIN: usize = 16;

/// Nodes in columns by their distance from a source, edges as curves between them.
fn svg(plan: &Plan) -> String {
    let n = plan.nodes.len();
    let mut rank = vec![0usize; n];
    for (at, node) in plan.nodes.iter().enumerate() {
        rank[at] = node.inputs.iter().map(|port| rank[port.node] + 1).max().unwrap_or(0);
    }
    let ranks = rank.iter().max().map_or(0, |r| r + 1);
    let width_of = |at: usize| title(&plan.nodes[at]).width() * CHAR_WIDTH + 24;
    let column = |r: usize| (0..n).filter(|at| rank[*at] == r).map(width_of).max().unwrap_or(0);
    let left = |r: usize| MARGIN + (0..r).map(|r| column(r) + GAP_ACROSS).sum::<usize>();
    let row = |at: usize| (0..at).filter(|other| rank[*other] == rank[at]).count();
    let top = |at: usize| MARGIN + row(at) * (BOX_HEIGHT + GAP_DOWN);
    let width = left(ranks) - GAP_ACROSS + MARGIN;
    let height = (0..n).map(|at| top(at) + BOX_HEIGHT).max().unwrap_or(0) + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"monospace\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (from, output, kind, to) in edges(plan) {
        let (x1, y1) = (left(rank[from]) + width_of(from), top(from) + BOX_HEIGHT / 2);
        let (x2, y2) = (left(rank[to]), top(to) + BOX_HEIGHT / 2);
        let middle = (x1 + x2) / 2;
        let _ = writeln!(
            out,
            "<path d=\"M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}\" fill=\"none\" stroke=\"#888\"/>\n\
             <text x=\"{middle}\" y=\"{}\" fill=\"#666\" font-size=\"11\" text-anchor=\"middle\">{}</text>",
            ((y1 + y2) / 2).saturating_sub(5),
            escape(&label(&output, &kind))
        );
    }
    for (at, node) in plan.nodes.iter().enumerate() {
        let fill = match (node.spec.is_source(), node.spec.is_sink()) {
            (true, _) => "#dff0d8",
            (_, true) => "#fcf1d0",
            _ => "#e8eef7",
        };
        let (x, y, w) = (left(rank[at]), top(at), width_of(at));
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{BOX_HEIGHT}\" rx=\"5\" fill=\"{fill}\" stroke=\"#555\"/>\n\
             <text x=\"{}\" y=\"{}\">{}</text>",
            x + 12,
            y + BOX_HEIGHT / 2 + 5,
            escape(&title(node))
        );
    }
    out + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

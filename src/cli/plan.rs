//! `weir plan`: what a pipeline becomes, before anything starts.

use std::fmt::Write;

use clap::Args;
use weir_sources::ebpf;
use weir_spec::component::Need;
use weir_spec::memory::{Division, EDGE_BATCHES_MAX, PROCESS_BYTES, StateMemory};
use weir_spec::plan::{Layout, Node, Stage};
use weir_spec::{Plan, units};

use super::{FAILED, PipelineArgs, WRONG, pipeline};

#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

pub fn run(args: &PlanArgs) -> u8 {
    let Some((_, checked)) = pipeline::load(&args.pipeline) else { return WRONG };
    let Some(plan) = checked.plan else { return WRONG };
    match plan.divide() {
        Ok(division) => super::say(&(print(&plan, &division) + &on_this_host(&plan))),
        Err(_) => FAILED,
    }
}

/// The plan as text.
pub fn print(plan: &Plan, division: &Division) -> String {
    let layout = plan.layout();
    let mut out = String::new();
    tasks(&mut out, plan, &layout);
    edges(&mut out, plan, &layout, division);
    memory(&mut out, plan, &layout, division);
    needs(&mut out, plan);
    out
}

fn tasks(out: &mut String, plan: &Plan, layout: &Layout) {
    let heads: Vec<usize> = (0..plan.nodes.len()).filter(|at| layout.head[*at] == *at).collect();
    // Writing into memory cannot fail.
    let _ = writeln!(out, "tasks ({})", heads.len());
    for head in heads {
        let members = (0..plan.nodes.len()).filter(|at| layout.head[*at] == head);
        let names: Vec<String> = members.map(|at| describe(&plan.nodes[at])).collect();
        let workers = match plan.nodes[head].spec.shape {
            weir_spec::Shape::Keyed if plan.settings.workers > 1 => format!(", {} workers", plan.settings.workers),
            _ => String::new(),
        };
        let _ = writeln!(out, "  {}{workers}", names.join(" | "));
    }
}

fn describe(node: &Node) -> String {
    match node.name == node.spec.name {
        true => node.name.clone(),
        false => format!("{} ({})", node.name, node.spec.name),
    }
}

fn edges(out: &mut String, plan: &Plan, layout: &Layout, division: &Division) {
    let _ = writeln!(out, "\nqueues ({})", layout.edges.len());
    for edge in &layout.edges {
        let from = &plan.nodes[edge.from.node];
        let output = &from.outputs[edge.from.output];
        let dot = if output.name.is_empty() { String::new() } else { format!(".{}", output.name) };
        let to = &plan.nodes[edge.to].name;
        let columns = output.stream.schema.fields.len();
        let _ = writeln!(out, "  {}{dot} -> {to}: {}, {columns} columns", from.name, output.stream);
        let size = units::human_size(division.edge_bytes as f64);
        let _ = writeln!(out, "    at most {EDGE_BATCHES_MAX} batches, {size}");
    }
}

fn memory(out: &mut String, plan: &Plan, layout: &Layout, division: &Division) {
    let size = |bytes: u64| units::human_size(bytes as f64);
    let _ = writeln!(out, "\nmemory: at most {} of {}", size(division.total_bytes), size(division.budget_bytes));
    let _ = writeln!(out, "  {:>10}  process", size(PROCESS_BYTES));
    let queues = division.edge_bytes * layout.edges.len() as u64;
    let _ = writeln!(out, "  {:>10}  queues", size(queues));
    for (node, state) in plan.nodes.iter().zip(&division.state_bytes) {
        let memory = node.memory();
        let kind = if memory.state == StateMemory::None { "buffers" } else { "state" };
        let bytes = memory.fixed_bytes + state;
        if bytes > 0 {
            let _ = writeln!(out, "  {:>10}  {} {kind}", size(bytes), node.name);
        }
    }
}

fn needs(out: &mut String, plan: &Plan) {
    let admin = plan.settings.admin.map(|address| format!("  settings: listens on tcp://{address}"));
    let mut lines: Vec<String> = admin.into_iter().collect();
    for node in &plan.nodes {
        for need in node.needs() {
            let what = match need {
                Need::Read(path) => format!("reads {path}"),
                Need::StandardInput => "reads standard input".to_string(),
                Need::Write(path) => format!("writes {path}"),
                Need::Listen(address) => format!("listens on {address}"),
                Need::Capability(name) => format!("needs {name}"),
            };
            lines.push(format!("  {}: {what}", node.name));
        }
    }
    let _ = writeln!(out, "\nfiles, ports and privileges");
    let none = "  none".to_string();
    let _ = writeln!(out, "{}", if lines.is_empty() { none } else { lines.join("\n") });
}

/// What depends on where it runs. What is tried for that is left as it was.
fn on_this_host(plan: &Plan) -> String {
    let sources = plan.nodes.iter().filter(|node| node.spec.name == ebpf::SPEC.name);
    let lines = sources.flat_map(|node| {
        let Stage::Options(values) = &node.stage else { return Vec::new() };
        ebpf::standing(values).into_iter().map(|line| format!("  {}: {line}\n", node.name)).collect()
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\non this host\n{lines}") }
}

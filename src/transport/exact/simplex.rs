//! The network simplex over a short list of pairs that grows until no pair is missing.

use crate::transport::exact::costs::Costs;
use crate::transport::exact::start::{self, Best, Start};
use crate::transport::exact::tree::{Arc, Tree};

/// Reduced costs above −this times the largest cost count as zero in a pivot…
const PIVOT_TOLERANCE: f64 = 1e-14;
/// …and in the pass over all pairs, wider by what the rounding of new potentials may move a pair of the list.
const PASS_TOLERANCE: f64 = 4e-14;

/// An optimal basis.
pub(super) struct Basis {
    /// u of the sources; u_i + v_j ≤ c_ij, with equality where there is flow.
    pub u: Vec<f64>,
    /// v of the sinks.
    pub v: Vec<f64>,
    /// (i, j, flow > 0).
    pub flows: Vec<(usize, usize, i64)>,
}

/// Moves the supplies `a` to the demands `b`, all positive and of the same total, at least cost.
pub(super) fn solve(costs: &Costs, a: &[i64], b: &[i64]) -> Basis {
    let Start { mut tree, mut arcs } = start::start(costs, a, b);
    let bound = costs.bound();
    loop {
        optimise(&mut tree, &arcs, costs.n, PIVOT_TOLERANCE * bound);
        tree.price(|i, j| costs.at(i, j));
        let missing = missing(costs, &tree.potentials, PASS_TOLERANCE * bound);
        if missing.is_empty() {
            break;
        }
        arcs.extend(missing);
        arcs.sort_unstable_by_key(|arc| (arc.i, arc.j));
    }
    let flows = tree.flows();
    let v = tree.potentials.split_off(costs.n);
    Basis { u: tree.potentials, v, flows }
}

/// Pivots until no arc has a reduced cost below −`tolerance`; enters the least of the next block that has one (block search).
fn optimise(tree: &mut Tree, arcs: &[Arc], n: usize, tolerance: f64) {
    let block = ((arcs.len() as f64).sqrt() as usize).clamp(20.min(arcs.len()), arcs.len());
    let (mut at, mut idle) = (0, 0);
    while idle < arcs.len() {
        let end = (at + block).min(arcs.len());
        let (mut least, mut entering) = (-tolerance, None);
        let (u, v) = tree.potentials.split_at(n);
        for arc in &arcs[at..end] {
            let reduced = arc.cost - u[arc.i as usize] - v[arc.j as usize];
            if reduced < least {
                (least, entering) = (reduced, Some(arc));
            }
        }
        idle += end - at;
        at = if end == arcs.len() { 0 } else { end };
        if let Some(arc) = entering {
            tree.pivot(arc.i, arc.j, least);
            idle = 0;
        }
    }
}

/// For each row the pairs of the least reduced costs below −`tolerance`. None: the basis is optimal.
fn missing(costs: &Costs, potentials: &[f64], tolerance: f64) -> Vec<Arc> {
    let (u, v) = potentials.split_at(costs.n);
    let rows = costs.over_rows(Best::below(-tolerance), |best, i, j, cost| best.offer(cost - u[i] - v[j], j));
    let found = rows.iter().enumerate().flat_map(|(i, best)| best.entries().map(move |(_, j)| (i as u32, j)));
    found.map(|(i, j)| Arc { i, j, cost: costs.at(i as usize, j as usize) }).collect()
}

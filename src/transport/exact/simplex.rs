//! The network simplex over a short list of pairs that grows until no pair is missing.

use crate::transport::exact::costs::Costs;
use crate::transport::exact::start::{self, Best, Start};
use crate::transport::exact::tree::{Arc, Tree};
use crate::transport::exact::twice::Twice;

/// Reduced costs above −this times the size of their own three terms count as zero in a pivot…
const PIVOT_TOLERANCE: f64 = 64.0 * Twice::ROUNDING;
/// …and in the pass over all pairs, wider by what the rounding of new potentials may move a pair of the list.
const PASS_TOLERANCE: f64 = 4.0 * PIVOT_TOLERANCE;
/// By how much of their terms two subtractions in f64 are off.
const SUBTRACTED: f64 = 4.0 * f64::EPSILON;

/// An optimal basis.
pub(super) struct Basis {
    /// u of the sources; u_i + v_j ≤ c_ij, with equality where there is flow.
    pub u: Vec<Twice>,
    /// v of the sinks.
    pub v: Vec<Twice>,
    /// (i, j, flow > 0).
    pub flows: Vec<(usize, usize, i64)>,
    /// By how much u_i + v_j may be more than the least c_ij of each row: what u_i gives way for a proof.
    pub excess: Vec<f64>,
}

/// Moves the supplies `a` to the demands `b`, all positive and of the same total, at least cost.
pub(super) fn solve(costs: &Costs<'_>, a: &[i64], b: &[i64]) -> Basis {
    let Start { mut tree, mut arcs } = start::start(costs, a, b);
    loop {
        optimise(&mut tree, &arcs, costs.n);
        let of_sinks: Vec<f64> = tree.potentials[costs.n..].iter().map(|v| v.high).collect();
        tree.price(costs.n + start::middle(&of_sinks), |i, j| costs.exact(i, j));
        let Pass { missing, excess } = pass(costs, &tree.potentials);
        if missing.is_empty() {
            let flows = tree.flows();
            let v = tree.potentials.split_off(costs.n);
            return Basis { u: tree.potentials, v, flows, excess };
        }
        arcs.extend(missing);
        arcs.sort_unstable_by_key(|arc| (arc.i, arc.j));
    }
}

/// c − u − v, and the size of its terms.
fn reduced(cost: Twice, u: Twice, v: Twice) -> (Twice, f64) {
    ((cost - u) - v, cost.high.abs() + u.high.abs() + v.high.abs())
}

/// Pivots until no arc has a reduced cost below zero; enters the least of the next block that has one (block search).
fn optimise(tree: &mut Tree, arcs: &[Arc], n: usize) {
    let block = ((arcs.len() as f64).sqrt() as usize).clamp(20.min(arcs.len()), arcs.len());
    let (mut at, mut idle) = (0, 0);
    while idle < arcs.len() {
        let end = (at + block).min(arcs.len());
        let (mut least, mut entering) = (Twice::default(), None);
        let (u, v) = tree.potentials.split_at(n);
        for arc in &arcs[at..end] {
            let (u, v) = (u[arc.i as usize], v[arc.j as usize]);
            // In f64 first, which settles nearly all.
            let (about, size) = (arc.cost.high - u.high - v.high, arc.cost.high.abs() + u.high.abs() + v.high.abs());
            if about - SUBTRACTED * size < least.high {
                let (value, size) = reduced(arc.cost, u, v);
                if value.high < least.high && value.high < -PIVOT_TOLERANCE * size {
                    (least, entering) = (value, Some(arc));
                }
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

/// What all pairs say of a basis.
struct Pass {
    /// For each row the pairs of the least reduced costs below zero. None: the basis is optimal.
    missing: Vec<Arc>,
    /// For each row what its least reduced cost may lie below zero by.
    excess: Vec<f64>,
}

/// Looks at all pairs: in f64, with each potential raised by its own rounding and that of a cost of its size, and where that leaves
/// a doubt in twice the digits.
fn pass(costs: &Costs<'_>, potentials: &[Twice]) -> Pass {
    let share = costs.rounding();
    // The same in twice the digits.
    let certain = share * f64::EPSILON;
    let raised: Vec<f64> = potentials.iter().map(|p| p.high + share * p.high.abs()).collect();
    let ((u, v), (raised_u, raised_v)) = (potentials.split_at(costs.n), raised.split_at(costs.n));
    let start = (Best::below(0.0), 0.0);
    let rows = costs.over_rows(start, |(best, excess), i, j, cost| {
        if cost - share * cost.abs() - raised_u[i] - raised_v[j] < 0.0 {
            let (value, size) = reduced(costs.exact(i, j), u[i], v[j]);
            *excess = f64::max(*excess, certain * size - value.high);
            if value.high < -PASS_TOLERANCE * size {
                best.offer(value.high, j);
            }
        }
    });
    let found = rows.iter().enumerate().flat_map(|(i, (best, _))| best.entries().map(move |(_, j)| (i as u32, j)));
    let missing = found.map(|(i, j)| Arc { i, j, cost: costs.exact(i as usize, j as usize) }).collect();
    Pass { missing, excess: rows.iter().map(|(_, excess)| *excess).collect() }
}

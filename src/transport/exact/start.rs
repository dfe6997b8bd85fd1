//! Where the network simplex starts: potentials of a coarser problem, the pairs that are cheap under them, and a tree of those.

use crate::random::{Philox, Stream};
use crate::transport::exact::costs::Costs;
use crate::transport::exact::simplex;
use crate::transport::exact::tree::{Arc, Tree};

/// Pairs a row and a column in the first list, and pairs a row that a pass adds.
const LISTED: usize = 8;
/// A cloud of more points is thinned for the coarser problem…
const COARSE: usize = 200;
/// …to one point of so many.
const THINNING: usize = 4;

/// A strongly feasible tree, and the arcs to pivot among, in order of (i, j).
pub(super) struct Start {
    pub tree: Tree,
    pub arcs: Vec<Arc>,
}

/// The few least of the values offered, in increasing order.
#[derive(Clone, Copy)]
pub(super) struct Best {
    kept: [(f64, u32); LISTED],
    count: usize,
    limit: f64,
}

impl Best {
    /// Takes values below `limit` only.
    pub fn below(limit: f64) -> Self {
        Self { kept: [(limit, 0); LISTED], count: 0, limit }
    }

    #[inline(always)]
    pub fn offer(&mut self, value: f64, index: usize) {
        if value < self.limit {
            self.insert(value, index);
        }
    }

    fn insert(&mut self, value: f64, index: usize) {
        let at = self.kept[..self.count].partition_point(|kept| kept.0 <= value);
        self.count = (self.count + 1).min(LISTED);
        self.kept.copy_within(at..self.count - 1, at + 1);
        self.kept[at] = (value, index as u32);
        if self.count == LISTED {
            self.limit = self.kept[LISTED - 1].0;
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = (f64, u32)> {
        self.kept.into_iter().take(self.count)
    }
}

/// A start for moving `a` to `b`.
pub(super) fn start(costs: &Costs, a: &[i64], b: &[i64]) -> Start {
    let v = guess(costs, a, b);
    let u = costs.row_transform(&v);
    let list = list(costs, &u, &v);
    let (root, basis) = basis(costs, &v, &list, a, b);
    let mut tree = Tree::new(costs.n, costs.m, root, &basis);
    tree.price(costs.n + middle(&v), |i, j| costs.exact(i, j));
    let mut arcs: Vec<Arc> = list.into_iter().map(|(_, i, j)| Arc { i, j, cost: costs.exact(i as usize, j as usize) }).collect();
    arcs.sort_unstable_by_key(|arc| (arc.i, arc.j));
    Start { tree, arcs }
}

/// Potentials v of the sinks: those of the problem between thinned clouds, carried over by c-transforms.
fn guess(costs: &Costs, a: &[i64], b: &[i64]) -> Vec<f64> {
    if costs.n.min(costs.m) == 1 || costs.n.max(costs.m) <= COARSE {
        return costs.column_transform(&vec![0.0; costs.n]);
    }
    let (rows, a) = thinned(a, |chosen| costs.nearest_row(chosen));
    let (columns, b) = thinned(b, |chosen| costs.nearest_column(chosen));
    let coarse = simplex::solve(&costs.of(&rows, &columns), &a, &b);
    let v: Vec<f64> = coarse.v.iter().map(|v| v.high).collect();
    let all: Vec<usize> = (0..costs.n).collect();
    let u = costs.of(&all, &columns).row_transform(&v);
    costs.column_transform(&u)
}

/// Where the middle one of `values` stands: by it most are small, however far apart some points lie.
pub(super) fn middle(values: &[f64]) -> usize {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let (_, middle, _) = order.select_nth_unstable_by(values.len() / 2, |&p, &q| values[p].total_cmp(&values[q]).then(p.cmp(&q)));
    *middle
}

/// A seeded choice of the points, each with the mass of all points that it is nearest to; those without mass are left out.
fn thinned(mass: &[i64], nearest: impl Fn(&[usize]) -> Vec<usize>) -> (Vec<usize>, Vec<i64>) {
    if mass.len() <= COARSE {
        return ((0..mass.len()).collect(), mass.to_vec());
    }
    let chosen = Philox::new(0, Stream::Split).permutation(mass.len(), mass.len().div_ceil(THINNING), 0);
    let mut gathered = vec![0; chosen.len()];
    nearest(&chosen).iter().zip(mass).for_each(|(&j, mass)| gathered[j] += mass);
    (0..gathered.len()).filter(|&j| gathered[j] > 0).map(|j| (chosen[j], gathered[j])).unzip()
}

/// The pairs (c_ij − u_i − v_j, i, j) of the least reduced costs of each row and of each column, in increasing order.
fn list(costs: &Costs, u: &[f64], v: &[f64]) -> Vec<(f64, u32, u32)> {
    let any = Best::below(f64::INFINITY);
    let rows = costs.over_rows(any, |best, i, j, cost| best.offer(cost - u[i] - v[j], j));
    let columns = costs.over_columns(any, |best, i, j, cost| best.offer(cost - u[i] - v[j], i));
    let of_rows = rows.iter().enumerate().flat_map(|(i, best)| best.entries().map(move |(r, j)| (r, i as u32, j)));
    let of_columns = columns.iter().enumerate().flat_map(|(j, best)| best.entries().map(move |(r, i)| (r, i, j as u32)));
    let mut all: Vec<(f64, u32, u32)> = of_rows.chain(of_columns).collect();
    all.sort_unstable_by(|p, q| p.0.total_cmp(&q.0).then((p.1, p.2).cmp(&(q.1, q.2))));
    all.dedup();
    all
}

/// A root, and the arcs (i, j, flow) of a strongly feasible tree: a greedy plan, cheapest pairs first, whose parts are then
/// joined by arcs without flow.
///
/// Each arc of the greedy plan exhausts a source or a sink, so the plan is a forest whose arcs all have flow. A part is hung from
/// another by an arc from one of its sources, which points up; once hung it has no such arc left to give.
fn basis(costs: &Costs, v: &[f64], list: &[(f64, u32, u32)], a: &[i64], b: &[i64]) -> (u32, Vec<(u32, u32, i64)>) {
    let (n, m) = (costs.n, costs.m);
    let (mut supply, mut demand) = (a.to_vec(), b.to_vec());
    let mut arcs = Vec::with_capacity(n + m - 1);
    let mut clusters = Clusters { above: (0..(n + m) as u32).collect() };
    let mut take = |i: usize, j: usize, supply: &mut [i64], demand: &mut [i64]| {
        let flow = supply[i].min(demand[j]);
        if flow > 0 {
            supply[i] -= flow;
            demand[j] -= flow;
            arcs.push((i as u32, j as u32, flow));
            clusters.join(i as u32, (n + j) as u32);
        }
    };
    for &(_, i, j) in list {
        take(i as usize, j as usize, &mut supply, &mut demand);
    }
    let mut open: Vec<usize> = (0..m).filter(|&j| demand[j] > 0).collect();
    for i in 0..n {
        while supply[i] > 0 {
            let reduced = |at: &usize| costs.at(i, open[*at]) - v[open[*at]];
            let Some(at) = (0..open.len()).min_by(|p, q| reduced(p).total_cmp(&reduced(q))) else { break };
            let j = open[at];
            take(i, j, &mut supply, &mut demand);
            if demand[j] == 0 {
                open.swap_remove(at);
            }
        }
    }
    let part: Vec<u32> = (0..(n + m) as u32).map(|k| clusters.of(k)).collect();
    // Every part joins into the cluster of the one it hangs from, so the representative of a cluster is the part at its top.
    for &(_, i, j) in list {
        let (lower, upper) = (clusters.of(i), clusters.of(n as u32 + j));
        if lower != upper && lower == part[i as usize] {
            clusters.above[lower as usize] = upper;
            arcs.push((i, j, 0));
        }
    }
    for i in 0..n as u32 {
        let lower = clusters.of(i);
        if arcs.len() == n + m - 1 {
            break;
        }
        if lower != part[i as usize] {
            continue;
        }
        let outside: Vec<usize> = (0..m).filter(|&j| clusters.of((n + j) as u32) != lower).collect();
        let reduced = |j: usize| costs.at(i as usize, j) - v[j];
        if let Some(j) = outside.into_iter().min_by(|&p, &q| reduced(p).total_cmp(&reduced(q))) {
            clusters.above[lower as usize] = clusters.of((n + j) as u32);
            arcs.push((i, j as u32, 0));
        }
    }
    (clusters.of(0), arcs)
}

/// Disjoint sets of nodes, each with a representative.
struct Clusters {
    above: Vec<u32>,
}

impl Clusters {
    fn of(&mut self, mut k: u32) -> u32 {
        while self.above[k as usize] != k {
            let next = self.above[self.above[k as usize] as usize];
            self.above[k as usize] = next;
            k = next;
        }
        k
    }

    fn join(&mut self, p: u32, q: u32) {
        let (p, q) = (self.of(p), self.of(q));
        self.above[p as usize] = q;
    }
}

//! The spanning tree of a basis: flows on its arcs, and the pivot.
//!
//! Nodes are the n sources and then the m sinks. An arc leads from a source to a sink, so the arc between a node and its parent
//! points up under a source and down under a sink. The tree is strongly feasible: arcs without flow point up.

use crate::transport::exact::twice::Twice;

/// No node.
const NONE: u32 = u32::MAX;

/// A pair (i, j) and its cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arc {
    pub i: u32,
    pub j: u32,
    pub cost: Twice,
}

#[derive(Clone, Copy)]
struct Node {
    parent: u32,
    first_child: u32,
    next: u32,
    previous: u32,
    depth: u32,
    /// On the arc to the parent.
    flow: i64,
}

pub(super) struct Tree {
    sources: u32,
    nodes: Vec<Node>,
    /// u of the sources, then v of the sinks; c = u + v on the arcs of the tree.
    pub potentials: Vec<Twice>,
}

impl Tree {
    /// The tree of `arcs`, (source, sink, flow), which span n sources and m sinks, from `root`.
    pub fn new(n: usize, m: usize, root: u32, arcs: &[(u32, u32, i64)]) -> Self {
        let lone = Node { parent: NONE, first_child: NONE, next: NONE, previous: NONE, depth: 0, flow: 0 };
        let mut tree = Self { sources: n as u32, nodes: vec![lone; n + m], potentials: vec![Twice::default(); n + m] };
        let mut neighbours = vec![Vec::new(); n + m];
        for &(i, j, flow) in arcs {
            let j = n as u32 + j;
            neighbours[i as usize].push((j, flow));
            neighbours[j as usize].push((i, flow));
        }
        let mut waiting = vec![root];
        while let Some(k) = waiting.pop() {
            for &(child, flow) in &neighbours[k as usize] {
                if child != tree.nodes[k as usize].parent {
                    tree.hang(child, k, flow);
                    tree.nodes[child as usize].depth = tree.nodes[k as usize].depth + 1;
                    waiting.push(child);
                }
            }
        }
        tree
    }

    /// The arcs with flow: (source, sink, flow).
    pub fn flows(&self) -> Vec<(usize, usize, i64)> {
        let n = self.sources as usize;
        let arc = |k: usize| {
            let Node { parent, flow, .. } = self.nodes[k];
            let (i, j) = if k < n { (k, parent as usize) } else { (parent as usize, k) };
            (parent != NONE && flow > 0).then(|| (i, j - n, flow))
        };
        (0..self.nodes.len()).filter_map(arc).collect()
    }

    /// The potentials from the costs along the tree, free of what many pivots added up; that of the node `first` is zero, so those
    /// around it have the most digits.
    pub fn price(&mut self, first: usize, cost: impl Fn(usize, usize) -> Twice) {
        let n = self.sources as usize;
        self.potentials[first] = Twice::default();
        let mut waiting = vec![(first as u32, NONE)];
        while let Some((k, from)) = waiting.pop() {
            let Node { parent, mut first_child, .. } = self.nodes[k as usize];
            let mut reach = |next: u32, potentials: &mut [Twice]| {
                if next != from {
                    let (p, q) = (k as usize, next as usize);
                    let cost = if q < n { cost(q, p - n) } else { cost(p, q - n) };
                    potentials[q] = cost - potentials[p];
                    waiting.push((next, k));
                }
            };
            if parent != NONE {
                reach(parent, &mut self.potentials);
            }
            while first_child != NONE {
                reach(first_child, &mut self.potentials);
                first_child = self.nodes[first_child as usize].next;
            }
        }
    }

    /// Brings in the arc from source `i` to sink `j`, whose reduced cost is `reduced` < 0.
    pub fn pivot(&mut self, i: u32, j: u32, reduced: Twice) {
        let sink = self.sources + j;
        let (theta, leaving, under_sink) = self.leaving(i, sink);
        if theta > 0 {
            self.push(i, sink, theta);
        }
        // The part under the leaving arc holds one end of the new one, becomes rooted there, and hangs from the other end.
        let (end, mut parent) = if under_sink { (sink, i) } else { (i, sink) };
        let depth = self.nodes[parent as usize].depth + 1;
        let (mut k, mut flow) = (end, theta);
        loop {
            let Node { parent: above, flow: old, .. } = self.nodes[k as usize];
            self.unhang(k);
            self.hang(k, parent, flow);
            if k == leaving {
                break;
            }
            (parent, k, flow) = (k, above, old);
        }
        self.shift(end, depth, if under_sink { -reduced } else { reduced });
    }

    /// The largest flow the cycle of (i, sink) takes, the node above which an arc then runs empty, and whether that is on the
    /// side of the sink. Of several, the last along the cycle from its top, which keeps the tree strongly feasible.
    fn leaving(&self, i: u32, sink: u32) -> (i64, u32, bool) {
        let (mut p, mut q) = (i, sink);
        let (mut theta, mut leaving, mut under_sink) = (i64::MAX, NONE, false);
        while p != q {
            let (at_p, at_q) = (self.nodes[p as usize], self.nodes[q as usize]);
            if at_p.depth >= at_q.depth {
                // Flow up out of a source falls.
                if p < self.sources && at_p.flow < theta {
                    (theta, leaving, under_sink) = (at_p.flow, p, false);
                }
                p = at_p.parent;
            } else {
                // Flow down into a sink falls.
                if q >= self.sources && at_q.flow <= theta {
                    (theta, leaving, under_sink) = (at_q.flow, q, true);
                }
                q = at_q.parent;
            }
        }
        (theta, leaving, under_sink)
    }

    /// Sends `theta` around the cycle of (i, sink).
    fn push(&mut self, i: u32, sink: u32, theta: i64) {
        let (mut p, mut q) = (i, sink);
        while p != q {
            let of_source = self.nodes[p as usize].depth >= self.nodes[q as usize].depth;
            let k = if of_source { p } else { q };
            let falls = (k < self.sources) == of_source;
            let node = &mut self.nodes[k as usize];
            node.flow += if falls { -theta } else { theta };
            if of_source {
                p = node.parent;
            } else {
                q = node.parent;
            }
        }
    }

    /// Adds `by` to the potentials of the sources under `top` and takes it from those of the sinks, and sets the depths.
    fn shift(&mut self, top: u32, depth: u32, by: Twice) {
        let (mut k, mut depth) = (top, depth);
        loop {
            let potential = &mut self.potentials[k as usize];
            *potential = *potential + if k < self.sources { by } else { -by };
            self.nodes[k as usize].depth = depth;
            let child = self.nodes[k as usize].first_child;
            if child != NONE {
                (k, depth) = (child, depth + 1);
                continue;
            }
            loop {
                if k == top {
                    return;
                }
                let Node { next, parent, .. } = self.nodes[k as usize];
                if next != NONE {
                    k = next;
                    break;
                }
                (k, depth) = (parent, depth - 1);
            }
        }
    }

    fn hang(&mut self, k: u32, parent: u32, flow: i64) {
        let next = std::mem::replace(&mut self.nodes[parent as usize].first_child, k);
        if next != NONE {
            self.nodes[next as usize].previous = k;
        }
        let node = &mut self.nodes[k as usize];
        (node.parent, node.next, node.previous, node.flow) = (parent, next, NONE, flow);
    }

    fn unhang(&mut self, k: u32) {
        let Node { parent, next, previous, .. } = self.nodes[k as usize];
        if previous == NONE {
            self.nodes[parent as usize].first_child = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
    }
}

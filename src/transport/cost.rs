//! What it costs to move a unit of mass from x to y.
//!
//! ½|x−y|² and the cosine cost are products of coordinates up to terms of one point alone, and take the fast soft-min; |x−y| and
//! the other norms have a soft-min of their own; a function given in Rust is evaluated pair by pair on the processor: as exact as
//! the others, and slow where its values are too many to keep.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::backend::{Cost, PairCost};
use crate::measure::Cloud;
use crate::random::{Philox, Stream};

/// A cost as a function of two points.
pub type CostFunction = dyn Fn(&[f64], &[f64]) -> f64 + Send + Sync;

/// The cost of a problem.
#[derive(Clone)]
pub enum GroundCost {
    /// One that every device knows.
    Known(Cost),
    /// A function of x and y.
    Given(Arc<CostFunction>),
    /// A function of y and x: that of the way back.
    Reversed(Arc<CostFunction>),
}

impl fmt::Debug for GroundCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(cost) => cost.fmt(f),
            Self::Given(_) => f.write_str("Given"),
            Self::Reversed(_) => f.write_str("Reversed"),
        }
    }
}

impl PartialEq for GroundCost {
    /// Functions are equal where they are one.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => a == b,
            (Self::Given(a), Self::Given(b)) | (Self::Reversed(a), Self::Reversed(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl GroundCost {
    /// A function of x and y as cost.
    pub fn given(cost: impl Fn(&[f64], &[f64]) -> f64 + Send + Sync + 'static) -> Self {
        Self::Given(Arc::new(cost))
    }

    /// c̃(y, x) = c(x, y).
    pub fn reversed(self) -> Self {
        match self {
            Self::Known(_) => self,
            Self::Given(cost) => Self::Reversed(cost),
            Self::Reversed(cost) => Self::Given(cost),
        }
    }

    /// c(x, y).
    pub fn between(&self, x: &[f64], y: &[f64]) -> f64 {
        match self {
            Self::Known(cost) => cost.between(x, y),
            Self::Given(cost) => cost(x, y),
            Self::Reversed(cost) => cost(y, x),
        }
    }

    /// Whether it is ½|x−y|².
    pub fn is_half_squared(&self) -> bool {
        matches!(self, Self::Known(Cost::HalfSquaredEuclidean))
    }

    /// The mean of c(x, y) over a seeded sample of 65,536 independent pairs of the two clouds.
    pub fn mean(&self, source: &Cloud, target: &Cloud, seed: u32) -> f64 {
        const PAIRS: u32 = 65_536;
        let philox = Philox::new(seed, Stream::Metric);
        let (draw_x, draw_y) = (source.inverse_cdf(), target.inverse_cdf());
        let (mut x, mut y) = (vec![0.0; source.dim()], vec![0.0; target.dim()]);
        let cost = |pair: u32| {
            let x = source.row_in(draw_x.index(philox.uniform(pair, 0, 0)), &mut x);
            let y = target.row_in(draw_y.index(philox.uniform(pair, 0, 1)), &mut y);
            self.between(x, y)
        };
        (0..PAIRS).map(cost).sum::<f64>() / f64::from(PAIRS)
    }
}

/// The names of the known costs, as [`Cost::from_str`] reads them.
pub const COSTS: [&str; 4] = ["half-sq-euclidean", "euclidean", "lp:P", "cosine"];

impl FromStr for Cost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "half-sq-euclidean" => Ok(Self::HalfSquaredEuclidean),
            "euclidean" => Ok(Self::Euclidean),
            "cosine" => Ok(Self::Cosine),
            _ => match text.strip_prefix("lp:").map(str::parse) {
                Some(Ok(p)) if (1.0..f64::INFINITY).contains(&p) => Ok(Self::Lp(p)),
                Some(_) => Err("lp:P has a finite P of 1 or more".into()),
                None => Err(format!("a cost is {}", COSTS.join(", "))),
            },
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HalfSquaredEuclidean => f.write_str("half-sq-euclidean"),
            Self::Euclidean => f.write_str("euclidean"),
            Self::Lp(p) => write!(f, "lp:{p}"),
            Self::Cosine => f.write_str("cosine"),
        }
    }
}

/// c_ij by two numbers.
type Entry<'a> = Box<dyn Fn(usize, usize) -> f64 + Sync + 'a>;

/// A cost as the solver streams it.
pub(super) enum Streamed<'a> {
    /// A product of coordinates.
    Product,
    /// A norm of the difference of coordinates.
    Norm(PairCost<'static>),
    /// By the numbers of row and column: from source to target, and of the way back.
    Given([Entry<'a>; 2]),
}

impl<'a> Streamed<'a> {
    /// c_ij of source i and target j.
    pub fn given(cost: impl Fn(usize, usize) -> f64 + Sync + Clone + 'a) -> Self {
        let back = cost.clone();
        Self::Given([Box::new(cost), Box::new(move |j, i| back(i, j))])
    }

    /// The cost between rows and columns, which are source and target or the other way round; none of a product.
    pub fn pair_cost(&self, back: bool) -> Option<PairCost<'_>> {
        match self {
            Self::Product => None,
            Self::Norm(cost) => Some(*cost),
            Self::Given(costs) => Some(PairCost::Given(&costs[usize::from(back)])),
        }
    }
}

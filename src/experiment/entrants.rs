//! Who takes part in a comparison: one row a method, with the field it runs on and its look in figures.

use crate::experiment::record::Family;

/// ε of the ot rows, relative to c₀.
pub const EPS_TRANSPORT: f64 = 0.002;
/// ε of the displacement row that shows what collapsed looks like.
pub const EPS_COLLAPSED: f64 = 0.05;

/// A method in a comparison: one row of [`ENTRANTS`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entrant {
    /// Its name in rows, files and figures, and the class of its colour in `figure.css`.
    pub name: &'static str,
    /// Its family.
    pub family: Family,
    /// The field that it runs on.
    pub on: On,
    /// What is run.
    pub way: Way,
    /// The shape of its marks; within a family each has its own.
    pub mark: Mark,
    /// Whether it also runs on a network whose schedule is of its family.
    pub on_networks: bool,
}

/// A field of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The exact field of the target on the linear variance-preserving schedule.
    Diffusion,
    /// The exact field of the target on straight paths under the independent coupling.
    Independent,
    /// That of the entropic plan between the start points and A.
    Optimal,
    /// That of a network trained on A.
    Trained,
}

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// A row of [`METHODS`](crate::sampler::METHODS), at every number of steps.
    Method(&'static str),
    /// Annealed Langevin on the ladder of every length.
    Ladder,
    /// The plan's map in one straight step, at these ε relative to c₀.
    Map(&'static [f64]),
}

/// Shape of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A disc.
    Disc,
    /// A square.
    Square,
    /// A square on its corner.
    Diamond,
    /// A triangle that points up.
    Up,
    /// A triangle that points down.
    Down,
    /// A triangle that points left.
    Left,
    /// A triangle that points right.
    Right,
}

const fn diffusion(name: &'static str, mark: Mark) -> Entrant {
    Entrant { name, family: Family::Diffusion, on: On::Diffusion, way: Way::Method(name), mark, on_networks: true }
}

const fn flow(name: &'static str, mark: Mark) -> Entrant {
    Entrant { name, family: Family::Flow, on: On::Independent, way: Way::Method(name), mark, on_networks: true }
}

const fn transport(name: &'static str, way: Way, mark: Mark) -> Entrant {
    Entrant { name, family: Family::Flow, on: On::Optimal, way, mark, on_networks: false }
}

const fn trained(name: &'static str, method: &'static str, mark: Mark) -> Entrant {
    Entrant { on: On::Trained, way: Way::Method(method), on_networks: false, ..flow(name, mark) }
}

/// All entrants, in the order of their rows.
pub const ENTRANTS: &[Entrant] = &[
    diffusion("ddpm", Mark::Disc),
    diffusion("ddim", Mark::Square),
    diffusion("pf-euler", Mark::Up),
    diffusion("pf-heun", Mark::Diamond),
    Entrant { way: Way::Ladder, on_networks: false, ..diffusion("annealed-langevin", Mark::Down) },
    flow("fm-euler", Mark::Up),
    flow("fm-heun", Mark::Diamond),
    transport("ot-euler", Way::Method("fm-euler"), Mark::Down),
    transport("ot-heun", Way::Method("fm-heun"), Mark::Square),
    transport("displacement", Way::Map(&[EPS_TRANSPORT, EPS_COLLAPSED]), Mark::Disc),
    trained("network-euler", "fm-euler", Mark::Left),
    trained("network-heun", "fm-heun", Mark::Right),
];

impl Entrant {
    /// Those on a field.
    pub fn on(on: On) -> impl Iterator<Item = &'static Self> {
        ENTRANTS.iter().filter(move |entrant| entrant.on == on)
    }

    /// Those on a network of a family.
    pub fn on_network(family: Family) -> impl Iterator<Item = &'static Self> {
        ENTRANTS.iter().filter(move |entrant| entrant.on_networks && entrant.family == family)
    }

    /// Those on any of `fields`.
    pub fn on_any(fields: &[On]) -> impl Iterator<Item = &'static Self> {
        ENTRANTS.iter().filter(move |entrant| fields.contains(&entrant.on))
    }

    /// Its rows at so many numbers of steps.
    pub fn rows(&self, steps: usize) -> usize {
        if let Way::Map(eps) = self.way { eps.len() } else { steps }
    }

    /// Its name at `eps`, relative to c₀: the first of several goes without.
    pub fn label(&self, eps: Option<f64>) -> String {
        match (self.way, eps) {
            (Way::Map([first, ..]), Some(eps)) if eps != *first => format!("{}-{eps}", self.name),
            _ => self.name.into(),
        }
    }

    /// The entrant whose label it is, and whether it is the label of a variant.
    pub fn of_label(label: &str) -> Option<(&'static Self, bool)> {
        let named = ENTRANTS.iter().find(|entrant| entrant.name == label).map(|entrant| (entrant, false));
        let variant = |entrant: &&Self| label.strip_prefix(entrant.name).is_some_and(|rest| rest.starts_with('-'));
        named.or_else(|| ENTRANTS.iter().find(variant).map(|entrant| (entrant, true)))
    }
}

//! One layer of a network.

/// One layer W x + b.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its name in the file.
    pub name: String,
    /// W, outputs × inputs, row-major.
    pub weight: Vec<f64>,
    /// b, of length outputs.
    pub bias: Vec<f64>,
}

impl Layer {
    /// Length of b.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Columns of W.
    pub fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len().max(1)
    }
}

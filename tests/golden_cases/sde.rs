use crate::case::{Case, Produced, Trouble, skip};
pub fn run(_: &Case) -> Result<Produced, Trouble> {
    skip("not yet")
}

//! A film on one self-contained page: frames embedded, play, pause and a slider; light and dark; nothing is fetched.

use minijinja::{Environment, context};

use super::ReportError;

/// What the page shows.
#[derive(Clone, Debug)]
pub struct Film {
    /// Title in words.
    pub title: String,
    /// How to read it: one paragraph.
    pub reading: String,
    /// What the frames show, for those who cannot see them.
    pub alt: String,
    /// Names and values.
    pub facts: Vec<(&'static str, String)>,
    /// Pictures as `data:` addresses, at times 0 to 1 in equal steps.
    pub frames: Vec<String>,
    /// Pictures shown under the film: what each is, and its `data:` address.
    pub ends: Vec<(String, String)>,
    /// Greatest width of the film, in pixels.
    pub width: usize,
}

impl Film {
    /// The page.
    ///
    /// # Errors
    /// [`ReportError::Page`] when the template fails.
    pub fn html(&self) -> Result<String, ReportError> {
        // In a script element nothing may look like its end.
        let script = |value: serde_json::Value| value.to_string().replace('<', "\\u003c");
        let mut environment = Environment::new();
        environment.add_template("film.html", include_str!("film.html"))?;
        let page = environment.get_template("film.html")?.render(context! {
            title => &self.title,
            reading => &self.reading,
            alt => &self.alt,
            facts => &self.facts,
            first => self.frames.first(),
            last => self.frames.len().saturating_sub(1),
            frames_json => script(self.frames.clone().into()),
            alt_json => script(self.alt.clone().into()),
            ends => &self.ends,
            width => self.width,
            version => env!("CARGO_PKG_VERSION"),
        })?;
        Ok(page)
    }
}

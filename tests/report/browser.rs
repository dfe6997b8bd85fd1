//! The page in a browser: headless Chromium, at 1280 and 400 pixels, in light and dark. Skipped, with a word, where there is none.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use brenier::report::draw;

use crate::descent::descent;
use crate::fixture::{digits, law};

/// Runs in a page whose frames are the reports, and leaves what it measures as JSON in place of them.
const MEASURE: &str = r#"
addEventListener("load", () => {
    const measure = frame => {
        const page = frame.contentDocument, view = frame.contentWindow;
        const box = element => element.getBoundingClientRect();
        const leaves = (inner, outer) =>
            inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
        const pictures = [...page.querySelectorAll("svg")];
        const wide = [...page.querySelectorAll("main *")].filter(e => !e.closest(".scroll") && box(e).right > page.documentElement.clientWidth + 1);
        return {
            name: frame.name, width: view.innerWidth, room: page.documentElement.clientWidth, scroll_width: page.documentElement.scrollWidth,
            dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
            paper: view.getComputedStyle(page.body).backgroundColor,
            pictures: pictures.length,
            unnamed: pictures.filter(p => !(p.querySelector("title")?.textContent && p.getAttribute("aria-label"))).length,
            clipped: pictures.flatMap(p => [...p.querySelectorAll("text")].filter(t => leaves(box(t), box(p))).map(t => t.textContent)),
            wide: wide.map(e => e.tagName + " " + e.textContent.slice(0, 40)),
        };
    };
    const found = [...document.querySelectorAll("iframe")].map(measure);
    document.body.textContent = JSON.stringify(found);
    console.log("measured");
});
"#;

/// Standard output and standard error of Chromium on `page`; none where there is no Chromium.
fn chromium(page: &Path, profile: &Path, dark: bool) -> Option<(String, String)> {
    let scheme = if dark { 0 } else { 1 };
    let run = Command::new("chromium")
        .args("--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --dump-dom".split(' '))
        .args("--disable-component-update --disable-sync --enable-logging=stderr --timeout=120000".split(' '))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .output();
    match run {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        run => {
            let run = run.expect("chromium starts");
            Some((String::from_utf8_lossy(&run.stdout).into(), String::from_utf8_lossy(&run.stderr).into()))
        }
    }
}

#[test]
fn the_page_fits_1280_and_400_pixels_in_light_and_dark_without_a_console_message() {
    let pages = [
        ("law", draw(&law(), None).unwrap()),
        ("images", draw(&digits(), Some((8, 8))).unwrap()),
        ("points in 64 dimensions", draw(&digits(), None).unwrap()),
        ("a descent", descent("langevin", ["normal", "8gaussians"], 30).1),
        ("a sampler", descent("ddpm", ["normal", "moons"], 12).1),
    ];
    let frame = |name: &str, html: &str, width: u32| {
        let html = html.replace('&', "&amp;").replace('"', "&quot;");
        format!("<iframe name=\"{name}\" width=\"{width}\" height=\"900\" style=\"border:0\" srcdoc=\"{html}\"></iframe>")
    };
    let frames: String = pages.iter().flat_map(|(name, r)| [1280, 400].map(|width| frame(name, &r.html, width))).collect();
    let room = tempfile::tempdir().unwrap();
    let wrapper = room.path().join("frames.html");
    let head = "<!doctype html><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">";
    std::fs::write(&wrapper, format!("{head}<body>{frames}<script>{MEASURE}</script></body>")).unwrap();
    for dark in [false, true] {
        let Some((page, log)) = chromium(&wrapper, &room.path().join(format!("profile-{dark}")), dark) else {
            eprintln!("skipped: no chromium on PATH, so the report was not looked at in a browser");
            return;
        };
        let said: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(said.len() == 1 && said[0].contains("measured"), "the console says {said:?}; all of the log: {log}");
        let body = page.split("<body>").nth(1).and_then(|rest| rest.split("</body>").next()).expect("a body");
        let body = body.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&");
        let found: Vec<serde_json::Value> = serde_json::from_str(&body).expect("measurements");
        assert_eq!(found.len(), 2 * pages.len());
        for (at, width) in found.iter().zip([1280, 400].repeat(pages.len())) {
            assert_eq!(at["width"], width);
            assert_eq!(at["dark"], dark, "{at}");
            assert_eq!(at["paper"], if dark { "rgb(20, 24, 29)" } else { "rgb(255, 255, 255)" });
            assert_eq!(at["scroll_width"], at["room"], "the page scrolls sideways: {at}");
            assert!(at["pictures"].as_u64().is_some_and(|n| n >= 4), "{at}");
            assert_eq!(at["unnamed"], 0, "a picture has no title or alternative text: {at}");
            assert_eq!(at["clipped"], serde_json::json!([]), "words leave their picture: {at}");
            assert_eq!(at["wide"], serde_json::json!([]), "something is wider than the page: {at}");
        }
    }
}

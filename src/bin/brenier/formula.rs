//! Formulas on the command line and in experiments: the expressions of minijinja, with the functions that records need.
//!
//! A parser of our own would be one more language to learn and maintain, and expression crates know nothing of records. minijinja has
//! arithmetic, lists and objects, and the report is already written in it.

use brenier::measure::Cloud;
use brenier::nearest;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Expression, UndefinedBehavior, Value};

use crate::Failure;

type Of<T> = Result<T, Error>;

/// Characters of the longest formula: the parser goes a level deeper for each operator.
const LONGEST: usize = 4096;

/// The language: its functions, of numbers or of lists of them element by element, and of lists.
pub fn language() -> Environment<'static> {
    let mut language = Environment::new();
    language.set_undefined_behavior(UndefinedBehavior::Strict);
    language.add_global("pi", std::f64::consts::PI);
    for (name, function) in [
        ("abs", f64::abs as fn(f64) -> f64),
        ("cos", f64::cos),
        ("exp", f64::exp),
        ("log", f64::ln),
        ("sin", f64::sin),
        ("sqrt", f64::sqrt),
        ("tan", f64::tan),
    ] {
        language.add_function(name, move |x: Value| each(&x, &function));
    }
    for (name, function) in [
        ("add", (|x, y| x + y) as fn(f64, f64) -> f64),
        ("subtract", |x, y| x - y),
        ("multiply", |x, y| x * y),
        ("divide", |x, y| x / y),
    ] {
        language.add_function(name, move |x: Value, y: Value| both(&x, &y, &function));
    }
    language.add_function("max", |all: Rest<Value>| Ok::<_, Error>(numbers(&all)?.into_iter().fold(f64::NEG_INFINITY, f64::max)));
    language.add_function("min", |all: Rest<Value>| Ok::<_, Error>(numbers(&all)?.into_iter().fold(f64::INFINITY, f64::min)));
    language.add_function("sum", |all: Rest<Value>| Ok::<_, Error>(numbers(&all)?.into_iter().sum::<f64>()));
    language.add_function("mean", |x: Value| numbers(&[x]).map(|x| mean(&x)));
    language.add_function("variance", |x: Value| variance(&x));
    language.add_function("rms_distance", |x: Value, y: Value| rms_distance(&x, &y));
    language.add_function("slope", |x: Value, y: Value| slope(&numbers(&[x])?, &numbers(&[y])?));
    language.add_function("largest_rise", |x: Value| {
        let rises = numbers(&[x])?.windows(2).map(|pair| pair[1] - pair[0]).reduce(f64::max);
        rises.ok_or_else(|| wrong("a list of one number neither rises nor falls".into()))
    });
    language.add_function("column", |rows: Value, key: Value| column(&rows, &key));
    language.add_function("where", |rows: Value, keys: Kwargs| matching(&rows, &keys));
    language
}

/// A formula ready to be evaluated.
pub struct Formula<'l> {
    text: String,
    expression: Expression<'l, 'static>,
}

impl<'l> Formula<'l> {
    /// The formula `text` of `variables`, in `language`.
    pub fn new(language: &'l Environment<'static>, text: &str, variables: &[&str]) -> Result<Self, Failure> {
        if text.len() > LONGEST {
            return Err(format!("a formula of {} characters is too long; the longest has {LONGEST}", text.len()).into());
        }
        if negates_a_power(text) {
            return Err(format!("\"{text}\": the minus binds before the power, so -x**2 is x**2; write -(x**2)").into());
        }
        let expression = language.compile_expression_owned(text.to_owned()).map_err(|error| refused(text, &error))?;
        let globals: Vec<&str> = language.globals().map(|(name, _)| name).collect();
        let known: Vec<&str> = variables.iter().chain(&globals).copied().collect();
        let mut unknown: Vec<String> = expression.undeclared_variables(false).into_iter().collect();
        unknown.retain(|name| !known.contains(&name.as_str()));
        unknown.sort();
        match unknown.first() {
            Some(name) => {
                let nearest = nearest(name, known);
                Err(format!("\"{text}\": there is nothing called \"{name}\" here; did you mean \"{nearest}\"?").into())
            }
            None => Ok(Self { text: text.into(), expression }),
        }
    }

    /// The names with dots that it uses, as in `a.rows`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.expression.undeclared_variables(true).into_iter().collect();
        paths.sort();
        paths
    }

    /// Its value, a number, where the variables are `values`.
    pub fn number(&self, values: Value) -> Result<f64, Failure> {
        let value = self.expression.eval(values).map_err(|error| refused(&self.text, &error))?;
        match f64::try_from(value.clone()) {
            Ok(number) if value.is_number() => Ok(number),
            _ => Err(format!("\"{}\" is {}, not a number", self.text, described(&value)).into()),
        }
    }
}

/// minijinja's error as ours: the text is not a formula, or it has no value.
fn refused(text: &str, error: &Error) -> Failure {
    let kind = match error.kind() {
        ErrorKind::SyntaxError => "is not a formula",
        _ => "has no value",
    };
    format!("\"{text}\" {kind}: {}", error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)).into()
}

fn wrong(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

/// The elements of a list; `None` for any other value.
fn elements(value: &Value) -> Of<Option<Vec<Value>>> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => Ok(Some(value.try_iter()?.collect())),
        _ => Ok(None),
    }
}

fn list(value: &Value) -> Of<Vec<Value>> {
    elements(value)?.ok_or_else(|| wrong(format!("{} is not a list", described(value))))
}

fn number(value: &Value) -> Of<f64> {
    if value.is_number() { f64::try_from(value.clone()) } else { Err(wrong(format!("{} is not a number", described(value)))) }
}

/// A value in a sentence: whole where it is short.
fn described(value: &Value) -> String {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.len().map_or("a list".into(), |len| format!("a list of {len}")),
        ValueKind::Map => "a record".into(),
        _ => value.to_string(),
    }
}

/// Whether a sign stands before a power, as in -t**2: here a sign binds before it, everywhere else after.
fn negates_a_power(text: &str) -> bool {
    let words: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let is_word = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let signs = words.iter().enumerate().filter(|(i, c)| {
        let before = i.checked_sub(1).map(|i| words[i]);
        **c == '-' && before.is_none_or(|before| !is_word(&before) && !matches!(before, ')' | ']'))
    });
    signs.into_iter().any(|(i, _)| {
        // The operand: a word with what is in brackets behind it, or what is in brackets.
        let (mut at, mut depth) = (i + 1, 0usize);
        while let Some(c) = words.get(at) {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' if depth > 0 => depth -= 1,
                _ if depth > 0 || is_word(c) => {}
                _ => break,
            }
            at += 1;
        }
        words[at..].starts_with(&['*', '*'])
    })
}

/// All numbers in `values`, lists inside lists opened.
fn numbers(values: &[Value]) -> Of<Vec<f64>> {
    let mut all = Vec::new();
    for value in values {
        match elements(value)? {
            Some(inner) => all.extend(numbers(&inner)?),
            None => all.push(number(value)?),
        }
    }
    match all.iter().find(|x| x.is_nan()) {
        Some(_) => Err(wrong("a number of the list is not a number (NaN)".into())),
        None if all.is_empty() => Err(wrong("the list is empty".into())),
        None => Ok(all),
    }
}

fn each(value: &Value, function: &dyn Fn(f64) -> f64) -> Of<Value> {
    match elements(value)? {
        Some(inner) => inner.iter().map(|x| each(x, function)).collect::<Of<Vec<Value>>>().map(Value::from),
        None => Ok(function(number(value)?).into()),
    }
}

fn both(x: &Value, y: &Value, function: &dyn Fn(f64, f64) -> f64) -> Of<Value> {
    let pairs = match (elements(x)?, elements(y)?) {
        (None, None) => return Ok(function(number(x)?, number(y)?).into()),
        (Some(x), None) => x.into_iter().map(|x| (x, y.clone())).collect(),
        (None, Some(y)) => y.into_iter().map(|y| (x.clone(), y)).collect(),
        (Some(x), Some(y)) if x.len() == y.len() => x.into_iter().zip(y).collect::<Vec<(Value, Value)>>(),
        (Some(x), Some(y)) => return Err(wrong(format!("a list of {} and a list of {} cannot be paired", x.len(), y.len()))),
    };
    pairs.iter().map(|(x, y)| both(x, y, function)).collect::<Of<Vec<Value>>>().map(Value::from)
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// The total variance of rows, or the variance of numbers.
fn variance(x: &Value) -> Of<f64> {
    let rows = list(x)?.iter().map(|row| numbers(std::slice::from_ref(row))).collect::<Of<Vec<Vec<f64>>>>()?;
    let width = rows.first().map_or(0, Vec::len);
    if rows.iter().any(|row| row.len() != width) {
        return Err(wrong("the rows are of different lengths".into()));
    }
    let cloud = Cloud::new(rows.concat(), width).map_err(|cause| wrong(cause.to_string()))?;
    Ok(cloud.variance())
}

/// √E|x − y|² of rows in the same order.
fn rms_distance(x: &Value, y: &Value) -> Of<f64> {
    let difference = both(x, y, &|x, y| (x - y).powi(2))?;
    Ok((numbers(&[difference])?.iter().sum::<f64>() / list(x)?.len() as f64).sqrt())
}

/// The slope of the line of least squares through (x, y).
fn slope(x: &[f64], y: &[f64]) -> Of<f64> {
    if x.len() != y.len() || x.len() < 2 {
        return Err(wrong(format!("no line goes through {} abscissas and {} ordinates", x.len(), y.len())));
    }
    let (x_mean, y_mean) = (mean(x), mean(y));
    let products: f64 = x.iter().zip(y).map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    Ok(products / x.iter().map(|x| (x - x_mean).powi(2)).sum::<f64>())
}

/// Entry `key` of each row: a number's place or a name.
fn column(rows: &Value, key: &Value) -> Of<Value> {
    let entry = |row: &Value| match row.get_item(key)? {
        missing if missing.is_undefined() => Err(wrong(format!("a row has no {key}"))),
        found => Ok(found),
    };
    list(rows)?.iter().map(entry).collect::<Of<Vec<Value>>>().map(Value::from)
}

/// The rows whose entries are `keys`.
fn matching(rows: &Value, keys: &Kwargs) -> Of<Value> {
    let wanted = keys.args().map(|key| Ok((key, keys.get::<Value>(key)?))).collect::<Of<Vec<(&str, Value)>>>()?;
    for (key, _) in &wanted {
        column(rows, &Value::from(*key))?;
    }
    let fits = |row: &Value| wanted.iter().all(|(key, value)| row.get_attr(key).is_ok_and(|found| found == *value));
    let found: Vec<Value> = list(rows)?.into_iter().filter(fits).collect();
    if found.is_empty() { Err(wrong(format!("no row has {}", in_words(&wanted)))) } else { Ok(found.into()) }
}

fn in_words(wanted: &[(&str, Value)]) -> String {
    wanted.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<String>>().join(" and ")
}

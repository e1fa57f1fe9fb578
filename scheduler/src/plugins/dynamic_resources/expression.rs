//! Trees of expressions: what is made of them before they run, and what they
//! may cost.

use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};

/// The function that looks a domain up: one that a device does not know is
/// empty, not an error.
pub(super) const DOMAIN: &str = "@domain";
/// How many parts a tree may have once bindings are put in their places.
const MOST_PARTS: usize = 20_000;
/// How many attributes a device may have.
const MOST_ATTRIBUTES: u64 = 32;
/// How long a list is that is not written down.
const UNKNOWN: u64 = 1024;

/// The tree with `cel.bind` resolved and domains looked up by [`DOMAIN`].
/// # Errors
/// It would grow too large.
pub(super) fn prepared(tree: IdedExpr) -> Result<IdedExpr, String> {
    Ok(by_domain(bound(tree)?))
}

/// Applies `to` to each part right below `expr`.
fn below(expr: &mut Expr, to: &mut impl FnMut(&mut IdedExpr)) {
    match expr {
        Expr::Call(call) => call.target.iter_mut().map(|it| &mut **it).chain(&mut call.args).for_each(to),
        Expr::Comprehension(it) => {
            let ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, result, .. } = &mut **it;
            [iter_range, accu_init, loop_cond, loop_step, result].into_iter().for_each(to);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(to),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| match &mut entry.expr {
            EntryExpr::MapEntry(entry) => [&mut entry.key, &mut entry.value].into_iter().for_each(&mut *to),
            EntryExpr::StructField(field) => to(&mut field.value),
        }),
        Expr::Struct(it) => it.entries.iter_mut().for_each(|entry| match &mut entry.expr {
            EntryExpr::MapEntry(entry) => [&mut entry.key, &mut entry.value].into_iter().for_each(&mut *to),
            EntryExpr::StructField(field) => to(&mut field.value),
        }),
        Expr::Select(select) => to(&mut select.operand),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

/// The parts right below `expr`.
fn parts(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Call(call) => call.target.iter().map(|it| &**it).chain(&call.args).collect(),
        Expr::Comprehension(it) => {
            vec![&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        Expr::Struct(it) => it.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn of_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    }
}

fn size(tree: &IdedExpr) -> usize {
    parts(&tree.expr).into_iter().fold(1, |sum, part| sum.saturating_add(size(part)))
}

/// How deep the tree is.
pub(super) fn depth(tree: &IdedExpr) -> usize {
    parts(&tree.expr).into_iter().map(depth).max().unwrap_or(0) + 1
}

/// Puts what `cel.bind(name, value, body)` binds where its name stands.
fn bound(mut tree: IdedExpr) -> Result<IdedExpr, String> {
    let mut failed = None;
    below(&mut tree.expr, &mut |part| match bound(std::mem::take(part)) {
        Ok(done) => *part = done,
        Err(why) => failed = Some(why),
    });
    if let Some(why) = failed {
        return Err(why);
    }
    let Some((name, value, mut body)) = binding(&tree.expr) else { return Ok(tree) };
    let grown = uses(&body, &name).saturating_mul(size(&value)).saturating_add(size(&body));
    if grown > MOST_PARTS {
        return Err("the expression is too complex".to_owned());
    }
    substitute(&mut body, &name, &value);
    Ok(body)
}

fn binding(expr: &Expr) -> Option<(String, IdedExpr, IdedExpr)> {
    let Expr::Call(CallExpr { func_name, target: Some(target), args }) = expr else { return None };
    let is_cel = matches!(&target.expr, Expr::Ident(name) if name == "cel");
    match args.as_slice() {
        [IdedExpr { expr: Expr::Ident(name), .. }, value, body] if is_cel && func_name == "bind" => {
            Some((name.clone(), value.clone(), body.clone()))
        }
        _ => None,
    }
}

fn hides(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Comprehension(it) if it.iter_var == name || it.iter_var2.as_deref() == Some(name))
}

fn uses(tree: &IdedExpr, name: &str) -> usize {
    match &tree.expr {
        Expr::Ident(ident) => usize::from(ident == name),
        hiding if hides(hiding, name) => 0,
        other => parts(other).into_iter().map(|part| uses(part, name)).sum(),
    }
}

fn substitute(tree: &mut IdedExpr, name: &str, value: &IdedExpr) {
    match &mut tree.expr {
        Expr::Ident(ident) if ident == name => *tree = value.clone(),
        hiding if hides(hiding, name) => {}
        other => below(other, &mut |part| substitute(part, name, value)),
    }
}

fn by_domain(mut tree: IdedExpr) -> IdedExpr {
    below(&mut tree.expr, &mut |part| *part = by_domain(std::mem::take(part)));
    match &mut tree.expr {
        Expr::Call(call)
            if call.func_name == operators::INDEX
                && call.args.first().is_some_and(|map| is_domains(&map.expr)) =>
        {
            call.func_name = DOMAIN.to_owned();
        }
        Expr::Select(select) if !select.test && is_domains(&select.operand.expr) => {
            let name = LiteralValue::String(select.field.as_str().into());
            let name = IdedExpr { id: tree.id, expr: Expr::Literal(name) };
            let args = vec![std::mem::take(&mut *select.operand), name];
            tree.expr = Expr::Call(CallExpr { func_name: DOMAIN.to_owned(), target: None, args });
        }
        _ => {}
    }
    tree
}

// `device.attributes` or `device.capacity`.
fn is_domains(expr: &Expr) -> bool {
    let Expr::Select(select) = expr else { return false };
    !select.test
        && ["attributes", "capacity"].contains(&select.field.as_str())
        && matches!(&select.operand.expr, Expr::Ident(name) if name == "device")
}

/// How many steps an evaluation takes at most.
pub(super) fn cost(tree: &IdedExpr) -> u64 {
    let below =
        |parts: Vec<&IdedExpr>| parts.into_iter().fold(1, |sum: u64, it| sum.saturating_add(cost(it)));
    match &tree.expr {
        Expr::Comprehension(it) => {
            let round = cost(&it.loop_cond).saturating_add(cost(&it.loop_step));
            below(vec![&it.iter_range, &it.accu_init, &it.result])
                .saturating_add(round.saturating_mul(length(&it.iter_range)))
        }
        other => below(parts(other)),
    }
}

// How many rounds a comprehension over this takes.
fn length(range: &IdedExpr) -> u64 {
    match &range.expr {
        Expr::List(list) => list.elements.len() as u64,
        Expr::Map(map) => map.entries.len() as u64,
        Expr::Call(call) if call.func_name == DOMAIN => MOST_ATTRIBUTES,
        expr if is_domains(expr) => MOST_ATTRIBUTES,
        _ => UNKNOWN,
    }
}

// The expression's characters without those in texts.
fn code(text: &str) -> impl Iterator<Item = char> {
    let (mut quote, mut escaped) = (None, false);
    text.chars().filter(move |c| match (quote, *c) {
        (Some(_), _) if escaped => {
            escaped = false;
            false
        }
        (Some(_), '\\') => {
            escaped = true;
            false
        }
        (Some(open), c) if c == open => {
            quote = None;
            false
        }
        (Some(_), _) => false,
        (None, c @ ('\'' | '"')) => {
            quote = Some(c);
            false
        }
        (None, _) => true,
    })
}

/// How deep brackets and choices nest.
pub(super) fn nesting(text: &str) -> usize {
    let (mut open, mut deepest, mut choices) = (0_usize, 0, 0);
    for c in code(text) {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            '?' => choices += 1,
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest.max(choices)
}

/// Operators, selections and calls: each is a level of the tree.
pub(super) fn steps(text: &str) -> usize {
    code(text).filter(|c| "([{.?:!-+*/%<>=&|,".contains(*c)).count()
}

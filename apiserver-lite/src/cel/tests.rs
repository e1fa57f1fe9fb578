use super::{Kind, Scope};

fn check(scope: &Scope, expression: &str, expected: &str) {
    let said = match scope.compile(expression) {
        Ok(kind) => kind.to_string(),
        Err(super::Fault::Wrong(text) | super::Fault::Unfit(text)) => text,
    };
    assert_eq!(said, expected, "{expression}");
}

#[test]
fn types_of_expressions() {
    let scope = Scope::of_admission(true, true).with(&[("v".to_owned(), Kind::Int)]);
    let check = |expression: &str, expected: &str| check(&scope, expression, expected);
    check("true", "bool");
    check("1 + 2 * 3", "int");
    check("-1", "int");
    check("'a' + \"b\"", "string");
    check("[]", "list(dyn)");
    check("[1, 2]", "list(int)");
    check("[1, 'a']", "list(dyn)");
    check("{'a': 1}", "map(string, int)");
    check("object.spec.replicas", "dyn");
    check("object.spec.replicas > 1 ? 'a' : 'b'", "string");
    check("has(object.metadata) && !(1 in [1, 2])", "bool");
    check("object.list.all(x, x.y == 1)", "bool");
    check("[1, 2].map(x, string(x))", "list(string)");
    check("variables.v == 1", "bool");
    check("request.userInfo.groups", "list(string)");
    check("authorizer.requestResource.check('get').allowed()", "bool");
    check("params.a == b'x' // why", "bool");
}

#[test]
fn faults_are_said_as_upstream_says_them() {
    let scope = Scope::of_admission(false, false).with(&[]);
    let check = |expression: &str, expected: &str| {
        check(&scope, expression, &format!("compilation failed: {expected}"));
    };
    check("a", "ERROR: <input>:1:1: undeclared reference to 'a' (in container '')\n | a\n | ^");
    check(
        "object.x == a ||\n frob(b)",
        "ERROR: <input>:1:13: undeclared reference to 'a' (in container '')\n | object.x == a ||\n | ............^\n\
         ERROR: <input>:2:6: undeclared reference to 'frob' (in container '')\n |  frob(b)\n | .....^\n\
         ERROR: <input>:2:7: undeclared reference to 'b' (in container '')\n |  frob(b)\n | ......^",
    );
    check(
        "request.nothing",
        "ERROR: <input>:1:8: undefined field 'nothing'\n | request.nothing\n | .......^",
    );
    check(
        "1 + 'a'",
        "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
    );
    check("variables.w", "ERROR: <input>:1:10: undefined field 'w'\n | variables.w\n | .........^");
}

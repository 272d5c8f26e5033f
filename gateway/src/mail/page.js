"use strict";
// The token is behind `#`: no server sees it before the button is pressed.
const kinds = {
  verify_email: { what: "Is this mail address yours?", go: "Confirm", path: "/api/auth/email/verify", done: "Your address is confirmed." },
  reset_password: { what: "Choose a new password.", go: "Change", path: "/api/auth/password/reset", done: "Your password was changed. All devices were signed out." },
  magic_link: { what: "Sign in on this device?", go: "Sign in", path: "/api/auth/magic-link/signin", done: "You are signed in." },
};
const at = (id) => document.getElementById(id);
const [purpose, token] = location.hash.slice(1).split("=");
const kind = Object.hasOwn(kinds, purpose) ? kinds[purpose] : null;
history.replaceState(null, "", "/mail");
if (!kind || !token) {
  at("said").textContent = "This link is not complete. Open it from the mail again.";
} else {
  at("what").textContent = kind.what;
  at("go").textContent = kind.go;
  at("password-label").hidden = purpose !== "reset_password";
  at("password").required = purpose === "reset_password";
  at("form").hidden = false;
}
// What is sent next. After a link that signs in, an account with one-time codes asks for one of them.
let next = () => {
  const body = { token };
  if (purpose === "magic_link") body.device = { kind: "browser" };
  if (purpose === "reset_password") body.new_password = at("password").value;
  return [kind.path, body];
};
const askForCode = (challenge) => {
  at("what").textContent = "One more step: your code.";
  at("code-label").hidden = false;
  at("code").required = true;
  at("code").focus();
  next = () => ["/api/auth/signin/second-factor", { challenge, code: at("code").value.trim() }];
};
at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("go").disabled = true;
  at("said").textContent = "";
  const [path, body] = next();
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", "sealpost-session": "cookie" },
      body: JSON.stringify(body),
    });
    const said = answer.status === 204 ? {} : await answer.json();
    if (!answer.ok) {
      at("said").textContent = said.detail;
    } else if (said.status === "second_factor_required") {
      askForCode(said.challenge);
    } else {
      at("form").hidden = true;
      at("said").textContent = kind.done;
    }
  } catch {
    at("said").textContent = "The server does not answer. Try again.";
  }
  at("go").disabled = false;
});

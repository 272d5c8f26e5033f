"use strict";
// The provider has sent the browser here. The code in the address is good once, and only with this browser's cookie.
const at = (id) => document.getElementById(id);
const provider = location.pathname.split("/")[2];
const query = new URLSearchParams(location.search);
history.replaceState(null, "", location.pathname);
const post = async (path, body) => {
  at("said").textContent = "Signing in …";
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", "sealpost-session": "cookie" },
      body: JSON.stringify(body),
    });
    const said = await answer.json();
    if (!answer.ok) {
      at("said").textContent = said.detail;
      return null;
    }
    return said;
  } catch {
    at("said").textContent = "The server does not answer. Try again.";
    return null;
  }
};
const show = (said) => {
  if (!said) return;
  if (said.status === "second_factor_required") {
    at("said").textContent = "";
    at("form").hidden = false;
    at("code").focus();
    at("form").onsubmit = async (event) => {
      event.preventDefault();
      const body = { challenge: said.challenge, code: at("code").value.trim() };
      show(await post("/api/auth/signin/second-factor", body));
    };
    return;
  }
  at("form").hidden = true;
  at("said").textContent = said.status === "linked" ? "The accounts are linked." : "You are signed in.";
  at("on").hidden = false;
};
const body = {};
for (const name of ["state", "code", "error", "iss"]) {
  if (query.has(name)) body[name] = query.get(name);
}
if (body.state) {
  post(`/api/auth/oidc/${encodeURIComponent(provider)}/finish`, body).then(show);
} else {
  at("said").textContent = "Nothing was begun here. Begin at the page where you sign in.";
}

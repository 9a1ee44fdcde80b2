/* Refreshes the parts of a page that change, and leaves alone what a person is doing: scroll, filters, open details,
   focus, selected text. Everything works without this script, but for that. */
(function () {
  "use strict";

  var button = document.getElementById("t-refresh");
  var filters = document.getElementById("t-filters");

  if (filters) {
    filters.addEventListener("submit", function () { // what is empty says nothing: leave it out of the address
      Array.prototype.forEach.call(filters.elements, function (field) {
        if (field.name && field.value === "") { field.disabled = true; }
      });
    });
    window.addEventListener("pageshow", function () { // the way back shows the form as it was
      Array.prototype.forEach.call(filters.elements, function (field) { field.disabled = false; });
    });
    filters.addEventListener("change", function (event) {
      if (event.target.tagName === "SELECT" || event.target.type === "checkbox") { filters.requestSubmit(); }
    });
  }

  if (!button || !Number(button.dataset.everyMs)) { return; }

  var text = document.getElementById("t-refresh-text");
  var everyMs = Number(button.dataset.everyMs);
  var failures = 0, timer = null, asking = false;

  function isOn() { return button.getAttribute("aria-pressed") === "true"; }

  function say(words, failed) {
    text.textContent = words;
    button.classList.toggle("t-refresh-failed", Boolean(failed));
  }

  function isReading() { // somebody marks text in a part that would be replaced
    var selection = document.getSelection();
    return selection && !selection.isCollapsed && selection.anchorNode &&
      selection.anchorNode.parentElement && selection.anchorNode.parentElement.closest("[data-live]") !== null;
  }

  function alike(part, one) { // links to the same place, or the same details: a row may have several
    var key = one.getAttribute("href") || (one.closest("details") || {}).id;
    return key ? Array.prototype.filter.call(part.querySelectorAll("a[href], details[id] > summary"), function (other) {
      return other.getAttribute("href") === key || (other.parentElement.id === key && other.tagName === "SUMMARY");
    }) : [];
  }

  function replace(part, fresh) {
    var open = {}, focused = part.contains(document.activeElement) ? document.activeElement : null;
    var place = focused ? alike(part, focused).indexOf(focused) : -1;
    part.querySelectorAll("details[id]").forEach(function (one) { open[one.id] = one.open; });
    var chips = part.querySelector(".t-chips"), left = chips ? chips.scrollLeft : 0;
    part.replaceChildren.apply(part, Array.prototype.slice.call(fresh.childNodes));
    part.querySelectorAll("details[id]").forEach(function (one) { if (one.id in open) { one.open = open[one.id]; } });
    if (part.querySelector(".t-chips")) { part.querySelector(".t-chips").scrollLeft = left; }
    if (focused) { (alike(part, focused)[place] || document.body).focus({preventScroll: true}); }
  }

  function show(markup) {
    var fresh = new DOMParser().parseFromString(markup, "text/html");
    var x = window.scrollX, y = window.scrollY;
    document.querySelectorAll("[data-live]").forEach(function (part) {
      var same = fresh.querySelector('[data-live="' + part.dataset.live + '"]');
      if (same && same.innerHTML !== part.innerHTML) { replace(part, same); }
    });
    window.scrollTo(x, y);
  }

  function refresh() {
    if (asking) { return; }
    asking = true;
    fetch(window.location.href, {
      headers: {"X-Trellis-Live": "1"}, credentials: "same-origin", cache: "no-store", redirect: "manual"
    }).then(function (response) {
      if (response.type === "opaqueredirect") { throw new Error("signed out: load the page again"); }
      if (!response.headers.get("X-Trellis-Live")) { throw new Error("the server says " + response.status); }
      return response.text();
    }).then(function (markup) {
      if (isOn() && !isReading()) {
        show(markup);
        say("Live");
      }
      failures = 0;
    }).catch(function (error) {
      failures += 1;
      say("Not refreshed: " + (error instanceof TypeError ? "Flower does not answer" : error.message), true);
    }).finally(function () {
      asking = false;
      plan();
    });
  }

  function plan() {
    clearTimeout(timer);
    if (isOn() && !document.hidden) { timer = setTimeout(refresh, everyMs * Math.min(1 + failures, 6)); }
  }

  button.addEventListener("click", function () {
    button.setAttribute("aria-pressed", isOn() ? "false" : "true");
    say(isOn() ? "Live" : "Paused");
    if (isOn()) { refresh(); } else { clearTimeout(timer); }
  });
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) { clearTimeout(timer); } else if (isOn()) { refresh(); }
  });

  button.hidden = false;
  plan();
}());

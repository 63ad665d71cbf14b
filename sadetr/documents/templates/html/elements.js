  /** An element with attributes and children; text is text. */
  function furnished(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const make = (name, attributes = {}, ...children) => furnished(document.createElement(name), attributes, children);
  const draw = (name, attributes, ...children) =>
    furnished(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

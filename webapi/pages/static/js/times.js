// Clock times in the reader's own time zone, exact times on hover.

export function localTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.title = moment.toLocaleString();
    if (element.dataset.clock === "hour") {
      element.textContent = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
    } else if (element.dataset.clock === "day") {
      element.textContent = moment.toLocaleString([], { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false });
    }
  }
}

localTimes();

"""Claims about the services of the reference system, which stand on the events of `eventlib.catalog`."""

from sim.claims.security import not_built

contextual_core = not_built("S53", "services", "Contextual Core: a vector database with embeddings", "this service")
market_monitor = not_built("S54", "services", "Market Monitor: data from open sources", "this service")
content_drafter = not_built("S55", "services", "AI Content Drafter: drafts of content", "this service")
consultant = not_built("S56", "services", "AI Business Consultant: strategic advice", "this service")
the_signal = not_built("S57", "services", "The Signal: notifications", "this service")
the_guardian = not_built("S58", "services", "The Guardian: observability", "this service")

// The parts of a panel that its kind decides, as Grafana publishes them: options, and the custom part of the field configuration.
import type * as bargauge from './node_modules/@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import type * as heatmap from './node_modules/@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import type * as stat from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as table from './node_modules/@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type * as timeseries from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

export interface BargaugePanel { options: bargauge.Options }
export interface HeatmapPanel { options: heatmap.Options; custom: heatmap.FieldConfig }
export interface StatPanel { options: stat.Options }
export interface TablePanel { options: table.Options; custom: table.FieldConfig }
export interface TimeseriesPanel { options: timeseries.Options; custom: timeseries.FieldConfig }
